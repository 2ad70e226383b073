"""Rewind: fine-prune again with the heads that an earlier run kept (Lagunas et al. 2021)."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool

from bpjax.pruning.blocks import expand
from bpjax.pruning.kept import unit_values
from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Pattern
from bpjax.pruning.structure import Structure, at, put


def keep_heads_of(
    method: Method,
    pattern: Pattern,
    structure: Structure,
    kept: Mapping[str, Bool[Array, " _"]],
) -> Method:
    """The method, with some heads kept dense: mask = max(mask, kept).

    A block is kept where it lies, with any part of it, in a kept head; so are its weights where the
    method cuts them itself.

    Args:
      method: over `pattern`.
      pattern: of the masks.
      structure: of the model.
      kept: which heads to keep, by the name of their sublayer.

    Raises:
      ValueError: a pattern with masks over more than kernels, which would remove a head kept here.
    """
    if any(not group.targets for group in pattern.groups):
        raise ValueError(f"rewind: {pattern.name} masks more than kernels; take another pattern")
    holding = unit_values(structure, pattern, kept)

    def masks(state, params, scheduled, rng):
        values = method.masks(state, params, scheduled, rng)
        return {name: jnp.where(holding[name] > 0, 1.0, value) for name, value in values.items()}

    def update(state, params, scheduled, step):
        state, after = method.update(state, params, scheduled, step)
        for group in pattern.groups:
            for target in group.targets:
                kernel = at(after, target.path)["kernel"]
                values = holding[group.name].reshape(target.grid)
                whole = expand(values, kernel.shape, target.block) > 0
                kernel = jnp.where(whole, at(params, target.path)["kernel"], kernel)
                after = put(after, (*target.path, "kernel"), kernel)
        return state, after

    return method._replace(masks=masks, update=update)
