"""The budget stage: what the model may cost, in what unit, before anything is trained."""

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bpjax import models
from bpjax.config import RunConfig
from bpjax.config.sections import BudgetSection
from bpjax.errors import UserError
from bpjax.measure.cost_table import measure_cost, right_at
from bpjax.measure.latency import compare_latency, parse_shapes
from bpjax.models.architecture import Config
from bpjax.models.quantize import PRESETS, as_integers
from bpjax.pruning.budget import reachable
from bpjax.pruning.costs import linear_cost, parameter_cost
from bpjax.pruning.methods.base import Method
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.budget_file import Budget, read_costs, write_budget
from bpjax.stages.recipe import (
    approximations_of,
    method_of,
    refusals,
)
from bpjax.stages.removal import Removal, removal_of
from bpjax.training.approximations import finished
from bpjax.training.evaluation import forward


class Priced(NamedTuple):
    """A budget in the units of a config.

    Attributes:
      budget: what may be left.
      whole: of the whole model: its density, parameters or bytes; for a speedup how many times
        faster cheaper operations alone make it.
    """

    budget: Budget
    whole: float


def price(
    options: BudgetSection,
    model: Config,
    params: dict,
    approximations: tuple[str, ...] = (),
    preset: str = "none",
) -> Priced:
    """Finds what the model may cost; for a speedup, by timing layers on this device.

    Args:
      options: of another kind than "penalty".
      model: before pruning.
      params: of that model.
      approximations: of what fine-pruning trains in, see `training.approximations`.
      preset: of the quantisation that follows, which says what a parameter takes when it is saved.
    """
    kind, value = options.kind, options.value
    if kind == "speedup":
        (shape,) = parse_shapes([options.shape])
        cheaper = finished(model, approximations)
        gained = _times_faster(model, cheaper, shape) if approximations else 1.0
        if options.costs:
            cost = read_costs(options.costs, models.describe(model))
        else:
            cost = measure_cost(cheaper, forward, *shape)
            cost = right_at(value / gained, cost, cheaper, forward, *shape)
        return Priced(Budget(cost, gained / value), gained)
    structure, saved = models.describe(model), params
    if kind == "density":
        return Priced(Budget(linear_cost(structure), value), 1.0)
    if preset != "none":
        rounded = model.replace(quantization=PRESETS[preset])
        saved = jax.eval_shape(functools.partial(as_integers, rounded), params)
    cost = parameter_cost(structure, saved, in_bytes=kind == "bytes")
    whole = float(cost.whole(structure))
    return Priced(Budget(cost, value / whole), whole)


def reach(
    kind: str, priced: Priced, params: dict, method: Method, removal: Removal
) -> tuple[float, float]:
    """The smallest and the largest budget that the masks can be cut to, in the units of its kind.

    Args:
      kind: of the budget.
      priced: of such a budget.
      params: of the model before pruning.
      method: that will prune it.
      removal: of what it masks.
    """
    least = reachable(method, removal.fraction(priced.budget.cost), params)
    whole = float(priced.whole)
    return (whole, whole / least) if kind == "speedup" else (least * whole, whole)


def require_reachable(
    options: BudgetSection,
    priced: Priced,
    params: dict,
    method: Method,
    removal: Removal,
) -> None:
    """Refuses a budget that the masks cannot be cut to.

    Args:
      options: the config's words for it.
      priced: of these options.
      params: as in `reach`.
      method: as in `reach`.
      removal: as in `reach`.

    Raises:
      UserError: the masks cannot be cut so far, or the model is smaller already.
    """
    low, high = reach(options.kind, priced, params, method, removal)
    if not low <= options.value <= high:
        raise UserError(
            f"config.budget.value is {options.value}: expected {options.kind} of {low:g} to "
            f"{high:g}, what {removal.pattern.name} masks of this model can reach; change it"
        )


def _times_faster(model: Config, cheaper: Config, shape: tuple[int, int]) -> float:
    """How many times faster the one is than the other, of the same sizes."""
    timed = {
        name: (functools.partial(forward, config), models.init(config, jax.random.key(0)))
        for name, config in (("dense", model), ("cheaper", cheaper))
    }
    taken = compare_latency(timed, [shape], inputs=models.inputs(model), rounds=50)
    dense, found = (next(iter(taken[name].values())) for name in timed)
    return dense / found


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Finds what the model may cost.

    Raises:
      UserError: a speedup that cannot be reached; other budgets are refused by `check`.
    """
    started = time.perf_counter()
    priced = _price(inputs, config, reach=config.budget.kind == "speedup")
    return {"seconds": time.perf_counter() - started, **write_budget(priced.budget)}


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a budget that cannot be reached, but for a speedup whose costs are to be measured.

    Raises:
      UserError: it cannot, or the pattern removes what its kind does not count.
    """
    kind = config.budget.kind
    model, _ = inputs.pretrained(config.model, config.seed)
    with refusals():
        removal = removal_of(config, model)
        method = method_of(config.pruning, config.prune.rewind, removal)
        removal.priced(method, linear_cost(removal.structure))
    if kind != "density" and removal.narrows:
        raise UserError(
            f"config.budget.kind is {kind}: expected density, for {removal.pattern.name} also "
            "removes dimensions of the hidden state, which it alone counts; change it, or "
            "pruning.pattern"
        )
    if kind != "speedup" or config.budget.costs:
        _price(inputs, config, reach=True)


def _price(inputs: Inputs, config: RunConfig, *, reach: bool) -> Priced:
    pruning, budget = config.pruning, config.budget
    model, params = inputs.pretrained(config.model, config.seed)
    priced = price(budget, model, params, approximations_of(pruning), config.quantize.preset)
    if reach:
        with refusals():
            removal = removal_of(config, model)
            method = method_of(pruning, config.prune.rewind, removal)
            method = removal.priced(method, priced.budget.cost)
        require_reachable(budget, priced, params, method, removal)
    return priced


BUDGET = Stage(
    name="budget",
    run=run,
    makes="budget",
    wanted=lambda config: config.budget.kind != "penalty",
    check=check,
)
