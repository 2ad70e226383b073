"""What a compression will do and how long that takes, found before anything is trained."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from bpjax import models, pipeline
from bpjax.compression.buckets import choose_buckets, choose_packing
from bpjax.compression.epochs import Epochs, Pace, choose_epochs
from bpjax.compression.recipe import make_config, set_epochs
from bpjax.compression.recognise import Recognised, recognise
from bpjax.compression.request import MEGABYTE, Request
from bpjax.config import validate
from bpjax.config.sections import BudgetSection
from bpjax.errors import UserError
from bpjax.measure.cost_table import measure_cost, right_at
from bpjax.measure.latency import parse_shapes
from bpjax.models.checkpoint import read_config
from bpjax.models.sources import CONFIG, find_model
from bpjax.pruning.costs import Cost
from bpjax.stages.base import Inputs
from bpjax.stages.budget import Priced, price, reach
from bpjax.stages.budget_file import Budget, write_budget
from bpjax.stages.inputs import prepare
from bpjax.stages.recipe import method_of
from bpjax.stages.removal import removal_of
from bpjax.training.evaluation import forward

LONGEST = 256
"""Tokens kept of a row unless `task.max_length` says otherwise: attention to more takes long."""

MEASURED = 0.15
"""Cost that the smallest models of our tables keep, 6 times faster or 10% of the linear parameters,
where they lose 1 to 3 points (results/README.md, Methods from one start)."""

MEASURED_AT_ONCE = 0.5
"""The same of models that are cut at once: smaller ones lost 1 to 11 points before fill."""

KINDS = {
    "classification": "{} classes",
    "multi_label": "any of {} labels",
    "regression": "a score",
    "tokens": "{} tags",
    "embedding": "embeddings as they are",
}
"""What a table asks, by head."""

OVERHEAD = 1.25
"""What a loop takes, over its steps when they are timed alone."""

TIMED = Epochs(2, 4, 2, {})
"""Stands for the epochs until they are chosen."""


class Plan(NamedTuple):
    """A compression, ready to be started.

    Attributes:
      config: of all its runs, but for the budget.
      costs: notes of a budget stage, by the name of a model; none where nothing had to be timed.
      told: lines for people: what was taken from table and model, and what is going to happen.
    """

    config: ConfigDict
    costs: dict[str, dict[str, Any]]
    told: tuple[str, ...]


def make_plan(request: Request) -> Plan:
    """Reads the table, times the model on this machine, and chooses what fits the minutes.

    Raises:
      UserError: what `recognise` refuses, a target out of reach, or too few minutes.
    """
    started = time.perf_counter()
    found = recognise(request)
    model = read_config(find_model(request.model) / CONFIG, "none")
    streams = models.describe(model).streams.values()
    config = make_config(
        request.model,
        found.task.name,
        found.options,
        is_new=found.is_new,
        hidden=max(stream.size for stream in streams),
        seed=request.seed,
    )
    set_epochs(config, TIMED, 1)
    longest = request.options.get("max_length", min(LONGEST, model.max_positions))
    config.task.max_length = longest
    inputs = prepare(validate(config))
    lengths = np.concatenate([inputs.train.lengths, inputs.evaluation.lengths])
    buckets = choose_buckets(lengths)
    config.batch.buckets = tuple(min(x, model.max_positions) for x in buckets)
    if models.architecture(model).packs and inputs.layout.devices == 1:
        config.batch.packing = choose_packing(
            inputs.train.lengths, config.batch.size, config.batch.buckets
        )
    left, costs = _price(request, config, inputs)

    planned = pipeline.plan(config, Path())
    epoch = inputs.steps_per_epoch(validate(config).batch)
    # A pass over the rows to evaluate on follows each over those to train on, forwards alone.
    beside = OVERHEAD * (1 + len(inputs.evaluation) / len(inputs.train) / 4)
    pace = Pace(
        epoch,
        planned["seconds"]["prune"] / TIMED.prune * beside,
        planned["compiling"] * (1 if config.batch.packing else len(buckets)) * beside,
        time.perf_counter() - started,
    )
    epochs = choose_epochs(pace, left, request.minutes, is_new=found.is_new)
    set_epochs(config, epochs, epoch)
    told = _tell(request, found, inputs, epochs, int((lengths >= longest).sum()), longest)
    return Plan(config, costs, (*told, *_warn(left, epochs)))


def _price(
    request: Request, config: ConfigDict, inputs: Inputs
) -> tuple[list[float], dict[str, dict[str, Any]]]:
    """What each model may cost, over the whole one; and, of speedups, by what costs.

    Raises:
      UserError: a target that cannot be reached.
    """
    typed = validate(config)
    model, params = inputs.pretrained(typed.model, typed.seed)
    removal = removal_of(typed, model)
    kind, values = request.budgets
    left, costs = [], {}
    (shape,) = parse_shapes([typed.budget.shape])
    table = measure_cost(model, forward, *shape) if kind == "speedup" else Cost(())
    for name, value in zip(request.names, values, strict=True):
        options = BudgetSection(kind, value, typed.budget.shape)
        if kind == "speedup":
            cost = right_at(value, table, model, forward, *shape)
            priced = Priced(Budget(cost, 1 / value), 1.0)
            costs[name] = write_budget(priced.budget)
        else:
            priced = price(options, model, params)
        method = method_of(typed.pruning, "", removal)
        method = removal.priced(method, priced.budget.cost)
        unit = MEGABYTE if request.kind == "megabytes" else 1
        low, high = (end / unit for end in reach(kind, priced, params, method, removal))
        if not low <= value / unit <= high:
            raise UserError(
                f"--{request.kind}={value / unit:g}: expected {low:.3g} to {high:.3g}, what this "
                "model can reach by its heads and FFN dimensions; change it"
            )
        left.append(priced.budget.fraction)
    return left, costs


def _warn(left: Sequence[float], epochs: Epochs) -> list[str]:
    """What of a plan is beyond what did well in our own runs."""
    smallest = MEASURED if epochs.prune else MEASURED_AT_ONCE
    if left[-1] >= smallest:
        return []
    how = "" if epochs.prune else " of models cut at once, for which alone there is time"
    return [
        f"warning  the smallest model keeps {left[-1]:.0%} of the cost, less than the "
        f"{smallest:.0%} at which our runs{how} did well: expect to lose points, or everything"
    ]


def _tell(
    request: Request, found: Recognised, inputs: Inputs, epochs: Epochs, cut: int, longest: int
) -> tuple[str, ...]:
    task = found.task
    columns = ", ".join(f"{role} from {name!r}" for role, name in found.columns.items())
    held = request.eval or f"a part of {request.data}, the same share of each class"
    lines = [
        f"model    {request.model}: "
        + ("fine-tuned here first, its head is new" if found.is_new else "teacher and start"),
        f"task     {task.name}, {KINDS[task.head].format(len(task.labels))}: {columns}",
        f"rows     {len(inputs.train):,} to train on, {len(inputs.evaluation):,} to evaluate on "
        f"({held})",
    ]
    if cut:
        lines.append(
            f"         {cut:,} have {longest} tokens or more, and end there; "
            "--task.max_length keeps more"
        )
    way = f"gradually, {epochs.prune} epochs" if epochs.prune else "at once, then fitted"
    stages = ", ".join(f"{stage} {taken:.0f}" for stage, taken in epochs.minutes.items())
    return (
        *lines,
        f"targets  {', '.join(request.names)}",
        f"method   Fisher importances, {way}; fill {epochs.fill} epochs",
        f"minutes  about {epochs.total:.0f}: {stages}",
    )
