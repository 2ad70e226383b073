"""What a model costs by the units it has left: the unit of a budget."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bpjax.pruning.kept import KeptUnits
from bpjax.pruning.structure import Structure, Sublayer, at, count_weights, has


class Table(NamedTuple):
    """A sublayer's cost at some sizes, linear between them.

    Attributes:
      sublayer: its name.
      sizes: numbers of units (or groups of units), rising from 0.
      costs: at those sizes.
      by_group: whether groups are counted and not units: kernels that a group shares.
      stream: the cost is in proportion to the dimensions left of this residual stream; "": it does
        not depend on them.
    """

    sublayer: str
    sizes: tuple[float, ...]
    costs: tuple[float, ...]
    by_group: bool = False
    stream: str = ""


class Cost(NamedTuple):
    """The cost of a model: a sum over its sublayers, in any unit.

    Attributes:
      tables: of the sublayers; one may have several.
      rest: of what is not pruned.
    """

    tables: tuple[Table, ...]
    rest: float = 0.0

    def total(
        self,
        units: Mapping[str, Int[Array, ""] | int],
        groups: Mapping[str, Int[Array, ""] | int] | None = None,
        streams: Mapping[str, Float[Array, ""] | float | int] | None = None,
    ) -> Float[Array, ""]:
        """Cost of a model.

        Args:
          units: left, by sublayer.
          groups: left, by sublayer; wanted where a table counts them.
          streams: fraction of their dimensions left, by stream; without it all.
        """
        total = jnp.float32(self.rest)
        for shared, part in self._by_stream():
            found = jnp.zeros(()) if shared else total
            for table in part:
                counts = (groups or {}) if table.by_group else units
                count = jnp.asarray(counts[table.sublayer], jnp.float32)
                cost = jnp.interp(count, np.array(table.sizes), np.array(table.costs))
                found += cost.astype(jnp.float32)
            total = total + found * (streams or {}).get(shared, 1.0) if shared else found
        return total

    def fraction(
        self, structure: Structure, left: KeptUnits, round_to: int = 1
    ) -> Float[Array, ""]:
        """Cost of what is left, over the cost of the whole model.

        Args:
          structure: of the whole model.
          left: of it.
          round_to: surgery keeps a multiple of as many units of a sublayer whose unit is one
            channel.
        """
        units, groups = {}, {}
        for each in structure.sublayers:
            alive = left.units[each.name]
            count = alive.sum()
            if each.write.width == 1:
                count = jnp.minimum(-(-count // round_to) * round_to, each.units)
            units[each.name] = count
            groups[each.name] = _alive_groups(each, alive)
        streams = {name: alive.mean() for name, alive in left.streams.items()}
        return self.total(units, groups, streams) / self.whole(structure)

    def whole(self, structure: Structure) -> Float[Array, ""]:
        """Cost of the whole model."""
        return self.total(
            {each.name: each.units for each in structure.sublayers},
            {each.name: len(each.groups) for each in structure.sublayers},
        )

    def _by_stream(self) -> list[tuple[str, list[Table]]]:
        """The tables by the stream that they follow, those that follow none first."""
        names = dict.fromkeys(["", *(table.stream for table in self.tables)])
        return [(name, [t for t in self.tables if t.stream == name]) for name in names]


def cost_to_json(cost: Cost) -> dict[str, Any]:
    """A cost as JSON values."""
    return {"tables": [table._asdict() for table in cost.tables], "rest": cost.rest}


def cost_from_json(data: Any) -> Cost:
    """What `cost_to_json` gave, or what version 0.1 noted: tables of attention and FFN by layer."""
    if isinstance(data, list):
        attention, ffn, rest, by_hidden = data
        stream = "hidden" if by_hidden else ""
        tables = tuple(
            Table(f"layer_{i}/{kind}", tuple(sizes), tuple(costs), stream=stream)
            for kind, rows in (("attention", attention), ("ffn", ffn))
            for i, (sizes, costs) in enumerate(rows)
        )
        return Cost(tables, rest)
    tables = tuple(
        Table(**row | {"sizes": tuple(row["sizes"]), "costs": tuple(row["costs"])})
        for row in data["tables"]
    )
    return Cost(tables, data["rest"])


def linear_cost(structure: Structure) -> Cost:
    """Linear parameters: the weights of the kernels, what the papers call encoder size."""
    return Cost(_counted(structure))


def parameter_cost(structure: Structure, params: dict, *, in_bytes: bool = False) -> Cost:
    """All parameters of a model; what no unit owns is the rest.

    Args:
      structure: of the model.
      params: its parameters, or their shapes and types.
      in_bytes: what they take is counted, by their types, and not how many they are.
    """
    cost = Cost(_counted(structure, params, in_bytes))
    count = sum(x.size * _weight(x, in_bytes) for x in jax.tree.leaves(params))
    return cost._replace(rest=count - float(cost.whole(structure)))


def _weight(x: Any, in_bytes: bool) -> int:
    return int(x.dtype.itemsize) if in_bytes else 1


def linear_parameters(structure: Structure) -> dict[str, int]:
    """Weights in the kernels of each sublayer, by its name."""
    return {each.name: count_weights(structure, each) for each in structure.sublayers}


def in_order(structure: Structure) -> list[Sublayer]:
    """The sublayers kind by kind, as costs are summed."""
    kinds = list(dict.fromkeys(each.kind for each in structure.sublayers))
    return sorted(structure.sublayers, key=lambda each: kinds.index(each.kind))


def _counted(
    structure: Structure, params: dict | None = None, in_bytes: bool = False
) -> tuple[Table, ...]:
    """Weights by unit; with parameters, what else a unit's channels have, such as biases, too."""
    tables = []
    for each in in_order(structure):
        weights: dict[tuple[bool, str], int] = {}
        for kernel in (*each.reads, each.write):
            found = kernel.width * structure.streams[kernel.stream].size
            beside = at(params, kernel.path) if params and has(params, kernel.path) else {}
            if "kernel" in beside:
                found *= _weight(beside["kernel"], in_bytes)
            # What is behind the kernel that writes stays whatever goes.
            if each.units and kernel != each.write:
                by_channel = [x for x in beside.values() if x.ndim == 1]
                found += kernel.width * sum(_weight(x, in_bytes) for x in by_channel)
            key = (kernel.grouped, "" if params else kernel.stream)
            weights[key] = weights.get(key, 0) + found
        for (grouped, stream), count in weights.items():
            most = (len(each.groups) if grouped else each.units) or 1
            sizes, costs = (0.0, float(most)), (0.0, float(most * count))
            tables.append(Table(each.name, sizes, costs, grouped, stream))
    return tuple(tables)


def _alive_groups(sublayer: Sublayer, alive: Array) -> Array | int:
    if not sublayer.groups:
        return 0
    ends = np.cumsum((0, *sublayer.groups))
    return sum(
        alive[start:stop].any().astype(jnp.int32)
        for start, stop in zip(ends[:-1], ends[1:], strict=True)
    )
