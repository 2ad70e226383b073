"""What a mask leaves: density by kernel, unit, sublayer and layer."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bpjax.pruning.blocks import block_sizes
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.structure import Structure, Sublayer, blocks, read


class SublayerSummary(NamedTuple):
    """Densities (kept fractions of weights) in one sublayer; empty where no unit is left.

    Attributes:
      name: of the sublayer.
      kind: of the sublayer.
      kernels: density by the kernel's role ("query", "in"…).
      unit_kernels: density of each unit's part of each kernel, by role.
      units: density of each unit, the mean of its parts.
      nonzero: weights that are not zero.
      weights: all weights.
    """

    name: str
    kind: str
    kernels: dict[str, float]
    unit_kernels: dict[str, tuple[float, ...]]
    units: tuple[float, ...]
    nonzero: int
    weights: int

    @property
    def density(self) -> float:
        """Over all its kernels; 1.0 where it has none."""
        return self.nonzero / self.weights if self.weights else 1.0


class LayerSummary(NamedTuple):
    """One layer, by its sublayers.

    Attributes:
      name: of the layer.
      sublayers: in their order.
    """

    name: str
    sublayers: tuple[SublayerSummary, ...]

    @property
    def density(self) -> float:
        """Over all kernels of the layer; 1.0 where it has none."""
        weights = sum(each.weights for each in self.sublayers)
        return sum(each.nonzero for each in self.sublayers) / weights if weights else 1.0


def mask_density(pattern: Pattern, values: Scores) -> Float[Array, ""]:
    """Kept fraction of the scored weights; ragged blocks count by the weights they have.

    Can be jitted. It is the density of the masks, not of the shrunken model, which also stores the
    zeros inside surviving heads. Masked dimensions of a residual stream take their share of all
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


def summarize(params: dict, structure: Structure) -> list[SublayerSummary]:
    """Density of each kernel, unit and sublayer: the fraction of weights that are not zero.

    Args:
      params: parameters after masking (`patterns.apply_masks`), or a shrunken model's.
      structure: where the model keeps its units.
    """
    return [_summarize(params, sublayer) for sublayer in structure.sublayers]


def by_layer(summaries: Iterable[SublayerSummary]) -> list[LayerSummary]:
    """Sublayers that follow one another in a layer, together."""
    layers = groupby(summaries, key=lambda each: each.name.rpartition("/")[0])
    return [LayerSummary(name, tuple(found)) for name, found in layers]


def _summarize(params: dict, sublayer: Sublayer) -> SublayerSummary:
    alive = {k: np.asarray(read(params, k)[0]) != 0 for k in sublayer.kernels}
    by_unit = {}
    for kernel, nonzero in alive.items():
        columns = nonzero.T if kernel == sublayer.write else nonzero
        by_block = columns.reshape(len(columns), -1, kernel.width).mean((0, 2))
        by_unit[kernel.role] = by_block[blocks(sublayer, kernel)]
    return SublayerSummary(
        name=sublayer.name,
        kind=sublayer.kind,
        kernels={kernel.role: float(x.mean()) for kernel, x in alive.items()},
        unit_kernels={role: tuple(x.tolist()) for role, x in by_unit.items()},
        units=tuple(np.mean([*by_unit.values()], axis=0).tolist()) if by_unit else (),
        nonzero=int(sum(x.sum() for x in alive.values())),
        weights=sum(x.size for x in alive.values()),
    )
