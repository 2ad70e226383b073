"""Rewind: fine-prune again with the heads that an earlier run kept (Lagunas et al. 2021)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Pattern, Target
from bpjax.pruning.structure import Structure


def hold_heads(
    method: Method,
    pattern: Pattern,
    structure: Structure,
    kept: Sequence[Bool[Array, " _"]],
) -> Method:
    """The method, with some heads held dense: mask = max(mask, held).

    A block is held where it lies, with any part of it, in a kept head.

    Args:
      method: over `pattern`.
      pattern: of the masks.
      structure: of the model.
      kept: for each layer, which heads to hold.
    """
    alive = {
        path: np.repeat(np.asarray(heads), layer.attention.head_dim)
        for layer, heads in zip(structure.layers, kept, strict=True)
        for path in (*layer.attention.inputs, layer.attention.output)
    }
    outputs = {layer.attention.output for layer in structure.layers}

    def held(target: Target) -> Float[np.ndarray, "rows cols"]:
        found = np.zeros(target.grid, np.float32)
        if target.path in alive:
            channels = alive[target.path]
            width = target.block.rows if target.path in outputs else target.block.cols
            padded = np.concatenate([channels, np.zeros(-len(channels) % width, bool)])
            blocks: np.ndarray = np.any(padded.reshape(-1, width), axis=1)
            found[:] = blocks[:, None] if target.path in outputs else blocks
        return found

    holding = {group.name: held(group.targets[0]).reshape(group.shape) for group in pattern.groups}

    def masks(state, params, knobs, rng):
        values = method.masks(state, params, knobs, rng)
        return {name: jnp.maximum(value, holding[name]) for name, value in values.items()}

    return method._replace(masks=masks)
