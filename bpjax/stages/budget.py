"""The budget stage: what the model may cost, in what unit, before anything is trained."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from bpjax import models
from bpjax.errors import UserError
from bpjax.measure.cost_table import measure_cost
from bpjax.measure.latency import compare_latency, parse_shapes
from bpjax.models.architecture import Config
from bpjax.pruning.budget import reachable
from bpjax.pruning.costs import (
    Cost,
    cost_from_json,
    cost_to_json,
    linear_cost,
    parameter_cost,
)
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
        self, model: Config, pattern: Pattern, round_to: int
    ) -> Callable[[Scores], jax.Array]:
        """From mask values to the fraction of the whole model's cost that surgery will leave."""
        structure = models.describe(model)
        return lambda values: self.cost.fraction(
            structure, kept_units(structure, pattern, values), round_to
        )


def plan_budget(
    options: Any,
    model: Config,
    params: dict,
    method: Method,
    pattern: Pattern,
    round_to: int,
    approximations: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Finds what the model may cost; for a speedup, by timing layers on this device.

    Args:
      options: `config.budget`, of another kind than "penalty".
      model: before pruning.
      params: of that model.
      method: that will prune it.
      pattern: that it will prune by.
      round_to: as in `surgery.shrink`.
      approximations: of what fine-pruning trains in, see `training.approximations`.

    Returns:
      `seconds`, and what `read_budget` reads.

    Raises:
      UserError: the masks cannot be cut so far, or the model is smaller already.
    """
    started = time.perf_counter()
    structure, kind, value = models.describe(model), options.kind, options.value
    count = sum(x.size for x in jax.tree.leaves(params))
    if kind == "speedup":
        (shape,) = parse_shapes([options.shape])
        cheaper = finished(model, approximations)
        gained = _times_faster(model, cheaper, shape) if approximations else 1.0
        cost, fraction = measure_cost(cheaper, forward, *shape), gained / value
    else:
        whole = {"density": 1, "params": count, "bytes": BYTES * count}[kind]
        cost = linear_cost(structure) if kind == "density" else parameter_cost(structure, params)
        fraction = value / whole
    least = reachable(method, Budget(cost, fraction).fraction_of(model, pattern, round_to), params)
    if not least <= fraction <= 1:
        ends = (gained, gained / least) if kind == "speedup" else (least * whole, whole)
        raise UserError(
            f"config.budget.value is {value}: expected {kind} of {ends[0]:g} to {ends[1]:g}, "
            f"what {pattern.name} masks of this model can reach; change it"
        )
    return {
        "seconds": time.perf_counter() - started,
        "cost": cost_to_json(cost),
        "fraction": fraction,
    }


def _times_faster(model: Config, cheaper: Config, shape: tuple[int, int]) -> float:
    """How many times faster the one is than the other, of the same sizes."""
    timed = {
        name: (functools.partial(forward, config), models.init(config, jax.random.key(0)))
        for name, config in (("dense", model), ("cheaper", cheaper))
    }
    taken = compare_latency(timed, [shape], vocab_size=model.vocab_size, rounds=50)
    dense, found = (next(iter(taken[name].values())) for name in timed)
    return dense / found


def read_budget(notes: Mapping[str, Any]) -> Budget | None:
    """The budget that `plan_budget` noted, from JSON; None where it noted none."""
    if "cost" not in notes:
        return None
    return Budget(cost_from_json(notes["cost"]), notes["fraction"])
