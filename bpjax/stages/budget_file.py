"""budget/done.json: what may be left of a model, by name."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from bpjax.pruning.costs import Cost, cost_from_json, cost_to_json
from bpjax.stages.base import Artefacts


class Budget(NamedTuple):
    """What may be left of a model.

    Attributes:
      cost: of a model by its sizes.
      fraction: of the whole model's cost that may be left.
    """

    cost: Cost
    fraction: float


def write_budget(budget: Budget) -> dict[str, Any]:
    """A budget as notes of its stage."""
    return {"cost": cost_to_json(budget.cost), "fraction": budget.fraction}


def read_budget(notes: Mapping[str, Any]) -> Budget | None:
    """The budget in such notes; None where earlier versions noted that there is none."""
    if "cost" not in notes:
        return None
    return Budget(cost_from_json(notes["cost"]), notes["fraction"])


def budget_of(artefacts: Artefacts) -> Budget | None:
    """The budget that a run planned; None where the config gives the penalty instead."""
    if "budget" not in artefacts:
        return None
    return read_budget(json.loads((artefacts["budget"] / "done.json").read_text()))
