"""budget/done.json: what may be left of a model, by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.pruning.costs import Cost, cost_from_json, cost_to_json
from bpjax.pruning.structure import Structure
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


def read_costs(path: str, structure: Structure) -> Cost:
    """The costs that another run measured, of a model of these sublayers or of one it came from.

    Args:
      path: of that run's budget/done.json.
      structure: of the model whose cost is asked for.

    Raises:
      UserError: no such file, or costs of other sublayers or of fewer units.
    """
    try:
        found = read_budget(json.loads(Path(path).expanduser().read_text(encoding="utf-8")))
        if found is None:
            raise ValueError("no costs")
        most = {table.sublayer: table.sizes[-1] for table in found.cost.tables}
        for each in structure.sublayers:
            if each.units and most.get(each.name, 0) < each.units:
                raise ValueError(f"not the costs of {each.units} units of {each.name}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"config.budget.costs is {path}: {' '.join(str(error).split())}: expected "
            "budget/done.json of a run of this model by a speedup; correct the path"
        ) from error
    return found.cost
