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

_TOLD_FROM_NOISE = 1.2  # times faster
_TRIED = 64  # sizes of a model all of whose sublayers are equally small

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
    members = _members(structure)
    most = {key: found[0].units for key, found in members.items()}
    few = {key: max(1, units // 4) for key, units in most.items()}
    none = dict.fromkeys(most, 0)
    wanted = [{**few, key: count} for key in most for count in _counts(most[key])]
    sized = {_name(units): units for units in (none, *wanted)}
    time = _time(config, forward, (batch, length), sized, seconds)

    tables = []
    for key, found in members.items():
        counts = _counts(most[key])
        times = [time[_name({**few, key: count})] for count in counts]
        costs = [(each - times[0]) / len(found) for each in times]
        # More never costs less: what looks so is noise.
        rising = tuple(map(float, np.maximum.accumulate(costs)))
        tables += [Table(each.name, tuple(map(float, counts)), rising) for each in found]
    return Cost(tuple(tables), time[_name(none)])


def right_at(
    speedup: float,
    cost: Cost,
    config: Config,
    forward: Callable[..., Any],
    batch: int,
    length: int,
    *,
    seconds: float = 20.0,
) -> Cost:
    """The same cost with the rest at which a model of that speedup is as fast as it is when timed.

    The sum of sublayers' costs is a little off: by it MiniLM at 8x128 on a CPU is 4 times faster
    where it is 4.2 times. What is timed is a model all of whose sublayers are equally small.

    Args:
      speedup: over the whole model, where the sum is to be right.
      cost: of `measure_cost`.
      config: as there.
      forward: as there.
      batch: as there.
      length: as there.
      seconds: as there.
    """
    if speedup < _TOLD_FROM_NOISE:
        return cost
    structure = models.describe(config)
    most = {key: found[0].units for key, found in _members(structure).items()}
    bare = cost._replace(rest=0.0)

    def units_of(share: float) -> dict[Signature, int]:
        return {key: round(units * share) for key, units in most.items()}

    def total(units: Mapping[Signature, int], of: Cost) -> float:
        alive = {x.name: units.get(_signature(structure, x), 0) for x in structure.sublayers}
        groups = {x.name: min(alive[x.name], len(x.groups)) for x in structure.sublayers}
        return float(of.total(alive, groups))

    shares = np.arange(_TRIED) / _TRIED
    wanted = total(most, cost) / speedup
    small = units_of(min(shares, key=lambda share: abs(total(units_of(share), cost) - wanted)))
    names = {_name(units): units for units in (most, small)}
    time = _time(config, forward, (batch, length), names, seconds)
    gained = time[_name(most)] / time[_name(small)]
    if gained < _TOLD_FROM_NOISE:
        return cost
    rest = (total(most, bare) - gained * total(small, bare)) / (gained - 1)
    return cost._replace(rest=max(cost.rest / 4, rest))  # noise may take more


def _members(structure: Structure) -> dict[Signature, list[Sublayer]]:
    """The sublayers that have units, those that are alike together."""
    members: dict[Signature, list[Sublayer]] = {}
    for sublayer in in_order(structure):
        if sublayer.units:
            members.setdefault(_signature(structure, sublayer), []).append(sublayer)
    return members


def _time(
    config: Config,
    forward: Callable[..., Any],
    shape: tuple[int, int],
    sized: Mapping[str, Mapping[Signature, int]],
    seconds: float,
) -> dict[str, float]:
    """Milliseconds of models of these sizes, by name, timed in turns."""
    structure, timed = models.describe(config), {}
    for name, units in sorted(sized.items(), key=lambda item: tuple(item[1].values())):
        smaller = models.resize(config, _sizes(structure, units))
        params = models.init(smaller, jax.random.key(0))
        timed[name] = (functools.partial(forward, smaller), params)
    taken = compare_latency(
        timed, [shape], inputs=models.inputs(config), rounds=50, seconds=seconds
    )
    return {name: next(iter(by_shape.values())) for name, by_shape in taken.items()}


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
