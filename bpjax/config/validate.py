"""What is refused before anything runs; what is left is a typed config."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from bpjax.config.fields import FRACTION, Check, declared, lookup, number, to_record
from bpjax.config.sections import BudgetSection, PruneSection, PruningSection, RunConfig
from bpjax.errors import UserError
from bpjax.measure.latency import parse_shapes
from bpjax.pruning.budget import BUDGETS
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.base import Method
from bpjax.pruning.methods.dense import NO_PATTERN

_BUDGET_VALUES = {"density": FRACTION, "speedup": number(1)}


def validate(config: ConfigDict) -> RunConfig:
    """Checks every value before anything runs.

    Returns:
      The same as typed, frozen records.

    Raises:
      UserError: a value out of range, or a budget that the method cannot follow.
    """
    values = config.to_dict()
    for found in declared(RunConfig):
        _require(values, found.name, found.check)
    typed: RunConfig = to_record(RunConfig, values)
    method = _method(typed.pruning)
    _check_training(method, typed.pruning.method, typed.prune)
    _check_kind(method, typed.pruning, typed.budget)
    _check_costs(typed.pruning, typed.budget)
    parse_shapes([typed.budget.shape])
    parse_shapes(typed.measure.shapes)
    _require(values, "budget.value", _BUDGET_VALUES.get(typed.budget.kind, number(0)))
    return typed


def _require(values: Mapping[str, Any], name: str, check: Check) -> None:
    value = lookup(values, name)
    try:
        valid = check.accepts(value)
    except TypeError:
        valid = False
    if not valid:
        raise UserError(
            f"config.{name} is {value!r}: expected {check.words}; change it in the config"
        )


def _method(pruning: PruningSection) -> Method:
    try:
        return make_method(pruning.method, NO_PATTERN, **pruning.options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"config.pruning.{pruning.method}.{error}; change it in the config"
        ) from error


def _check_training(method: Method, name: str, prune: PruneSection) -> None:
    for field, given, nothing in (("epochs", prune.epochs, 0), ("source", prune.source, "")):
        if method.calibrate and given != nothing:
            raise UserError(
                f"config.prune.{field} is {given!r}: expected {nothing!r}, for {name} cuts the "
                "dense model without training; set it, or another pruning.method"
            )
    if method.priced and prune.source:
        raise UserError(
            f"config.prune.source is {prune.source!r}: expected '', for {name} decides by the "
            "gradients that it sees while it trains; set it, or another pruning.method"
        )


def _check_kind(method: Method, pruning: PruningSection, budget: BudgetSection) -> None:
    kinds = BUDGETS[:1] * method.penalized + BUDGETS[1:] * (method.cut_by is not None)
    if budget.kind not in kinds:
        shown = ", ".join(f"{option}={value}" for option, value in sorted(pruning.options.items()))
        raise UserError(
            f"budget.kind {budget.kind!r}: {pruning.method}({shown}) takes {' or '.join(kinds)}; "
            "choose one of them, or another pruning.method or other options"
        )


def _check_costs(pruning: PruningSection, budget: BudgetSection) -> None:
    if budget.costs and (budget.kind != "speedup" or pruning.relu or pruning.affine_norm):
        raise UserError(
            f"config.budget.costs is {budget.costs!r}: expected '', but for a speedup of the same "
            "operations; set it, or budget.kind=speedup, pruning.relu=False and "
            "pruning.affine_norm=False"
        )
