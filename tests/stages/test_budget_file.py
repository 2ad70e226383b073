"""budget/done.json: a cost is written by name, and read from earlier files by position."""

import json

from tiny import TINY

from bpjax.models import bert
from bpjax.pruning.costs import linear_cost, parameter_cost
from bpjax.stages.budget_file import cost_from_json, cost_to_json, read_budget

STRUCTURE = bert.describe(TINY)


def test_a_cost_comes_back_as_it_was():
    for cost in (linear_cost(STRUCTURE), parameter_cost(STRUCTURE, 1000)):
        saved = json.loads(json.dumps(cost_to_json(cost)))
        assert cost_from_json(saved) == cost
    assert set(saved) == {"tables", "rest", "by_hidden"}
    assert saved["tables"]["layer_1/ffn"] == [[0.0, 3.0], [0.0, 39.0]]


def test_the_list_of_earlier_files_is_read():
    earlier = [
        [[[0.0, 2.0], [0.0, 96.0]], [[0.0, 1.0], [0.0, 48.0]]],
        [[[0.0, 5.0], [0.0, 60.0]], [[0.0, 3.0], [0.0, 36.0]]],
        0.0,
        True,
    ]
    found = read_budget({"seconds": 1.0, "cost": earlier, "fraction": 0.5})
    assert found.cost == linear_cost(STRUCTURE) and found.fraction == 0.5
    assert read_budget({"seconds": 0.0}) is None
