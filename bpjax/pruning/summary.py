"""What a mask leaves: density by matrix, head and layer."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bpjax.pruning.blocks import block_sizes
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.structure import Layer, Structure, at, kernels


class LayerSummary(NamedTuple):
    """Densities (kept fractions of weights) in one layer.

    Attributes:
      name: the layer's.
      matrices: density by the last part of the kernel's path ("query", "in", …).
      head_matrices: density of each head's part of Q, K, V and the output kernel, by matrix.
      heads: density of each head, over all four.
      density: over all kernels of the layer; 1.0 where it has none.
    """

    name: str
    matrices: dict[str, float]
    head_matrices: dict[str, tuple[float, ...]]
    heads: tuple[float, ...]
    density: float


def mask_density(pattern: Pattern, values: Scores) -> Float[Array, ""]:
    """Kept fraction of the scored weights; ragged blocks count by the weights they have.

    Can be jitted. It is the density of the masks, not of the shrunken model, which also stores the
    zeros inside surviving heads. Masked dimensions of the hidden state take their share of all
    weights along. 1.0 where nothing is scored.
    """
    kept, total, share = jnp.zeros(()), 0, jnp.ones(())
    for group in pattern.groups:
        for target in group.targets:
            sizes = block_sizes(target.kernel_shape, target.block)
            alive = values[group.name].reshape(target.grid) != 0
            kept += jnp.sum(jnp.where(alive, sizes.astype(np.float32), 0))
            total += sizes.sum()
        if group.norms:
            share *= jnp.mean(values[group.name] != 0)
    return kept / total * share if total else share


def summarize(params: dict, structure: Structure) -> list[LayerSummary]:
    """Density of each matrix, head and layer: the fraction of weights that are not zero.

    Args:
      params: parameters after masking (`patterns.apply_masks`), or a shrunken model's.
      structure: where the model keeps its heads and feed-forward dimensions.
    """
    return [_summarize_layer(params, layer) for layer in structure.layers]


def _summarize_layer(params: dict, layer: Layer) -> LayerSummary:
    attention, ffn = layer.attention, layer.ffn
    alive = {
        path[-1]: np.asarray(at(params, path)["kernel"]) != 0
        for path in (*kernels(attention), *kernels(ffn))
    }
    by_head = {
        path[-1]: (alive[path[-1]] if path in attention.inputs else alive[path[-1]].T)
        .reshape(-1, attention.heads, attention.head_dim)
        .mean((0, 2))
        for path in kernels(attention)
    }
    weights = sum(x.size for x in alive.values())
    return LayerSummary(
        name=layer.name,
        matrices={name: float(x.mean()) for name, x in alive.items()},
        head_matrices={
            path[-1]: tuple(by_head[path[-1]].tolist()) if by_head else ()
            for path in (*attention.inputs, attention.output)
        },
        heads=tuple(np.mean([*by_head.values()], axis=0).tolist()) if by_head else (),
        density=float(sum(x.sum() for x in alive.values()) / weights) if weights else 1.0,
    )
