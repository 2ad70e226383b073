"""The budget stage: what the model may cost, in what unit, before anything is trained."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from bpjax.errors import UserError
from bpjax.measure.cost_table import measure_cost
from bpjax.measure.latency import compare_latency, parse_shapes
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.pruning.budget import reachable
from bpjax.pruning.costs import Cost, Table, linear_cost, parameter_cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.training.approximations import finished
from bpjax.training.evaluation import forward

_KINDS = ("attention", "ffn")
BYTES = 4  # of a parameter: models are saved in float32


class Budget(NamedTuple):
    """What may be left of a model.

    Attributes:
      cost: of a model by its sizes.
      fraction: of the whole model's cost that may be left.
    """

    cost: Cost
    fraction: float

    def fraction_of(
        self, model: BertConfig, pattern: Pattern, round_to: int
    ) -> Callable[[Scores], jax.Array]:
        """From mask values to the fraction of the whole model's cost that surgery will leave."""
        structure = bert.describe(model)
        return lambda values: self.cost.fraction(kept_units(structure, pattern, values), round_to)


def plan_budget(
    options: Any,
    model: BertConfig,
    params: dict,
    method: Method,
    pattern: Pattern,
    round_to: int,
    replaced: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Finds what the model may cost; for a speedup, by timing layers on this device.

    Args:
      options: `config.budget`, of another kind than "penalty".
      model: before pruning.
      params: of that model.
      method: that will prune it.
      pattern: that it will prune by.
      round_to: as in `surgery.shrink`.
      replaced: what fine-pruning replaces by a cheaper operation, keys of `approximations.FIELDS`.

    Returns:
      `seconds`, and what `read_budget` reads.

    Raises:
      UserError: the masks cannot be cut so far, or the model is smaller already.
    """
    started = time.perf_counter()
    structure, kind, value = bert.describe(model), options.kind, options.value
    count = sum(x.size for x in jax.tree.leaves(params))
    if kind == "speedup":
        (shape,) = parse_shapes([options.shape])
        cheaper = finished(model, replaced)
        gained = _times_faster(model, cheaper, shape) if replaced else 1.0
        cost, fraction = measure_cost(cheaper, forward, *shape), gained / value
    else:
        whole = {"density": 1, "params": count, "bytes": BYTES * count}[kind]
        cost = linear_cost(structure) if kind == "density" else parameter_cost(structure, count)
        fraction = value / whole
    least = reachable(method, Budget(cost, fraction).fraction_of(model, pattern, round_to), params)
    if not least <= fraction <= 1:
        ends = (gained, gained / least) if kind == "speedup" else (least * whole, whole)
        raise UserError(
            f"config.budget.value is {value}: expected {kind} of {ends[0]:g} to {ends[1]:g}, "
            f"what {pattern.name} masks of this model can reach; change it"
        )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cost": cost_to_json(cost), "fraction": fraction}


def _times_faster(model: BertConfig, cheaper: BertConfig, shape: tuple[int, int]) -> float:
    """How many times faster the one is than the other, of the same sizes."""
    models = {
        name: (functools.partial(forward, config), bert.init(config, jax.random.key(0)))
        for name, config in (("dense", model), ("cheaper", cheaper))
    }
    taken = compare_latency(models, [shape], vocab_size=model.vocab_size, rounds=50)
    dense, found = (next(iter(taken[name].values())) for name in models)
    return dense / found


def read_budget(notes: Mapping[str, Any]) -> Budget | None:
    """The budget that `plan_budget` noted, from JSON; None where it noted none."""
    if "cost" not in notes:
        return None
    return Budget(cost_from_json(notes["cost"]), notes["fraction"])


def cost_to_json(cost: Cost) -> dict[str, Any]:
    """A cost as `budget/done.json` holds it: `[sizes, costs]` by name of the sublayer."""
    tables = {
        f"layer_{i}/{kind}": [list(table.sizes), list(table.costs)]
        for i, layer in enumerate(zip(cost.attention, cost.ffn, strict=True))
        for kind, table in zip(_KINDS, layer, strict=True)
    }
    return {"tables": tables, "rest": cost.rest, "by_hidden": cost.by_hidden}


def cost_from_json(data: Any) -> Cost:
    """What `cost_to_json` gave, or the list by position of earlier files."""
    if isinstance(data, Mapping):
        rest, by_hidden, named = data["rest"], data["by_hidden"], data["tables"]
        layers = range(len(named) // len(_KINDS))
        rows = [[named[f"layer_{i}/{kind}"] for i in layers] for kind in _KINDS]
    else:
        *rows, rest, by_hidden = data
    attention, ffn = (
        tuple(Table(tuple(sizes), tuple(costs)) for sizes, costs in found) for found in rows
    )
    return Cost(attention, ffn, rest, by_hidden)
