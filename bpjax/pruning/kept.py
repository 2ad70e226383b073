"""Which units and dimensions surgery will leave, read from mask values alone, under jit."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bpjax.pruning.blocks import BlockMask
from bpjax.pruning.patterns import Pattern, Scores, Target
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


def unit_values(
    structure: Structure, pattern: Pattern, units: Mapping[str, Bool[Array, " _"]]
) -> dict[str, Float[Array, "..."]]:
    """The mask values, by group name, that leave some units: `kept_units`, the other way round.

    A block is left where it lies, with any part of it, in such a unit.

    Args:
      structure: of the model.
      pattern: of the masks.
      units: by sublayer; of sublayers that are not named nothing is left.
    """
    homes = {kernel.path: (each, kernel) for each, kernel in structure.kernels()}

    def left(target: Target) -> Float[Array, "rows cols"]:
        sublayer, kernel = homes[target.path]
        rows, cols = target.grid
        if sublayer.name not in units:
            return jnp.zeros((rows, cols))
        writes = kernel == sublayer.write
        count, side = (rows, target.block.rows) if writes else (cols, target.block.cols)
        by_block = jnp.zeros(channels(sublayer, kernel) // kernel.width, jnp.int32)
        by_block = by_block.at[blocks(sublayer, kernel)].add(units[sublayer.name])
        by_channel = jnp.repeat(by_block > 0, kernel.width)
        padded = jnp.pad(by_channel, (0, count * side - len(by_channel)))
        found = padded.reshape(count, side).any(1).astype(jnp.float32)
        return jnp.broadcast_to(found[:, None] if writes else found[None, :], (rows, cols))

    return {group.name: left(group.targets[0]).reshape(group.shape) for group in pattern.groups}


def _alive_blocks(sublayer: Sublayer, kernel: Kernel, mask: BlockMask) -> Bool[Array, " blocks"]:
    """Which blocks of a kernel have a weight that is not masked."""
    side = mask.read_inputs if kernel == sublayer.write else mask.fed_outputs
    found: Array = side(channels(sublayer, kernel))
    return found.reshape(-1, kernel.width).any(1)
