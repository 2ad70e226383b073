"""Which heads and dimensions surgery will leave, read from mask values alone, under jit."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool

from bpjax.pruning.blocks import BlockMask
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.structure import Path, Structure


class KeptUnits(NamedTuple):
    """What is left of a model, by layer.

    Attributes:
      heads: for each layer, which of its heads.
      dimensions: for each layer, which of its feed-forward dimensions.
      hidden: which dimensions of the hidden state.
    """

    heads: tuple[Bool[Array, " heads"], ...]
    dimensions: tuple[Bool[Array, " size"], ...]
    hidden: Bool[Array, " hidden"]


def kept_units(structure: Structure, pattern: Pattern, values: Scores) -> KeptUnits:
    """The heads and dimensions that feed something and are fed by something (METHODS section 2).

    It agrees with `surgery.shrink` where no weight is zero of itself. A head without query or key
    survives: it still averages its values.

    Args:
      structure: of the model.
      pattern: of the masks.
      values: mask values by group name.
    """
    masks = {
        target.path: BlockMask(values[group.name].reshape(target.grid), target.block)
        for group in pattern.groups
        for target in group.targets
    }

    def alive(inner: Path, outer: Path, count: int, width: int) -> Bool[Array, " count"]:
        kept = jnp.ones(count, bool)
        for path, side in ((inner, BlockMask.fed_outputs), (outer, BlockMask.read_inputs)):
            if path in masks:
                kept &= side(masks[path], count * width).reshape(count, width).any(1)
        return kept

    hidden = jnp.ones(structure.hidden_size, bool)
    for group in pattern.groups:
        if group.norms:
            hidden &= values[group.name] != 0
    return KeptUnits(
        heads=tuple(
            alive(attention.value, attention.output, attention.heads, attention.head_dim)
            for attention in (layer.attention for layer in structure.layers)
        ),
        dimensions=tuple(
            alive(ffn.inner, ffn.outer, ffn.size, 1)
            for ffn in (layer.ffn for layer in structure.layers)
        ),
        hidden=hidden,
    )
