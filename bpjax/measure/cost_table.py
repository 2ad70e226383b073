"""A sublayer's latency by the units that it has, measured on this device."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from bpjax import models
from bpjax.measure.latency import compare_latency
from bpjax.models.architecture import Config
from bpjax.pruning.costs import Cost, Table, in_order
from bpjax.pruning.structure import Sizes, Structure, Sublayer, shape, sizes_of

# Of the whole, below which the curve is steep: a product of few columns leaves the machine idle.
_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)

Signature = tuple[str, tuple[tuple[int, int], ...]]
"""Kind and shapes of a sublayer: what its latency depends on."""


def measure_cost(
    config: Config,
    forward: Callable[..., Any],
    batch: int,
    length: int,
    *,
    seconds: float = 60.0,
) -> Cost:
    """Times models in which all sublayers that are alike have the same size, all interleaved.

    The size of one sort of sublayer varies while the others keep a quarter; a sublayer's cost is
    its share of what the models take more than the one without sublayers of that sort.

    Args:
      config: of the whole model.
      forward: `(config, params, batch) -> logits`.
      batch: rows.
      length: tokens in a row.
      seconds: of timing, compilation aside.

    Returns:
      Milliseconds.
    """
    structure = models.describe(config)
    members: dict[Signature, list[Sublayer]] = {}
    for sublayer in in_order(structure):
        if sublayer.units:
            members.setdefault(_signature(structure, sublayer), []).append(sublayer)
    most = {key: found[0].units for key, found in members.items()}
    few = {key: max(1, units // 4) for key, units in most.items()}
    none = dict.fromkeys(most, 0)
    wanted = [{**few, key: count} for key in most for count in _counts(most[key])]
    sized = {_name(units): units for units in (none, *wanted)}
    timed = {}
    for name, units in sorted(sized.items(), key=lambda item: tuple(item[1].values())):
        smaller = models.resize(config, _sizes(structure, units))
        params = models.init(smaller, jax.random.key(0))
        timed[name] = (functools.partial(forward, smaller), params)
    taken = compare_latency(
        timed, [(batch, length)], inputs=models.inputs(config), rounds=50, seconds=seconds
    )
    time = {name: next(iter(by_shape.values())) for name, by_shape in taken.items()}

    tables = []
    for key, found in members.items():
        counts = _counts(most[key])
        times = [time[_name({**few, key: count})] for count in counts]
        costs = [(each - times[0]) / len(found) for each in times]
        # More never costs less: what looks so is noise.
        rising = tuple(map(float, np.maximum.accumulate(costs)))
        tables += [Table(each.name, tuple(map(float, counts)), rising) for each in found]
    return Cost(tuple(tables), time[_name(none)])


def _signature(structure: Structure, sublayer: Sublayer) -> Signature:
    return sublayer.kind, tuple(shape(structure, sublayer, each) for each in sublayer.kernels)


def _sizes(structure: Structure, units: Mapping[Signature, int]) -> Sizes:
    """Sizes of a model in which each sublayer has as many units as are given for its like."""
    whole = sizes_of(structure)
    left: dict[str, int | tuple[int, ...]] = {}
    for each in structure.sublayers:
        count = units[_signature(structure, each)] if each.units else 0
        left[each.name] = _first(each.groups, count) if each.groups else count
    return whole._replace(units=left)


def _first(groups: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first `count` units of some groups, by group."""
    ends = np.minimum(np.cumsum((0, *groups)), count)
    return tuple(int(n) for n in np.diff(ends) if n)


def _name(units: Mapping[Signature, int]) -> str:
    return " ".join(map(str, units.values()))


def _counts(most: int) -> list[int]:
    return sorted({0, *(max(1, round(most * share)) for share in _SHARES)})
