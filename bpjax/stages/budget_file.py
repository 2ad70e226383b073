"""budget/done.json: what may be left of a model, by name."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from bpjax.pruning.costs import Cost, Table
from bpjax.stages.base import Artefacts

_KINDS = ("attention", "ffn")


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


def cost_to_json(cost: Cost) -> dict[str, Any]:
    """A cost: `[sizes, costs]` by name of the sublayer, and the rest."""
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
