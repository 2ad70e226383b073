"""Which units and dimensions surgery will leave, read from mask values alone, under jit."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool

from bpjax.pruning.blocks import BlockMask
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.structure import Kernel, Structure, Sublayer, blocks, channels


class KeptUnits(NamedTuple):
    """What is left of a model.

    Attributes:
      units: which of each sublayer's units, by the sublayer's name.
      streams: which dimensions of each residual stream, by the stream's name.
    """

    units: Mapping[str, Bool[Array, " units"]]
    streams: Mapping[str, Bool[Array, " size"]]


def kept_units(structure: Structure, pattern: Pattern, values: Scores) -> KeptUnits:
    """The units that feed something and are fed by something (METHODS section 2).

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

    def alive(sublayer: Sublayer) -> Bool[Array, " units"]:
        kept = jnp.ones(sublayer.units, bool)
        feeds = [kernel for kernel in sublayer.reads if kernel.role in sublayer.silence.feeds]
        for kernel in (*feeds, sublayer.write):
            if kernel.path in masks:
                found = _alive_blocks(sublayer, kernel, masks[kernel.path])
                kept &= found[blocks(sublayer, kernel)] if kernel.grouped else found
        return kept

    streams = {name: jnp.ones(stream.size, bool) for name, stream in structure.streams.items()}
    for name in pattern.streams:
        streams[name] &= values[name] != 0
    return KeptUnits({each.name: alive(each) for each in structure.sublayers}, streams)


def _alive_blocks(sublayer: Sublayer, kernel: Kernel, mask: BlockMask) -> Bool[Array, " blocks"]:
    """Which blocks of a kernel have a weight that is not masked."""
    side = mask.read_inputs if kernel == sublayer.write else mask.fed_outputs
    found: Array = side(channels(sublayer, kernel))
    return found.reshape(-1, kernel.width).any(1)
