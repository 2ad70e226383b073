"""The budget stage: what a speedup is over, and at which shapes it is timed."""

import pytest
from tiny import TINY, linear, make_params, pattern_of

from bpjax.config import default_config, validate
from bpjax.config.sections import BudgetSection
from bpjax.errors import UserError
from bpjax.models import bert
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.methods import make_method
from bpjax.stages import budget
from bpjax.stages.inputs import timed_shapes
from bpjax.stages.removal import Removal

STRUCTURE = bert.describe(TINY)


def test_a_speedup_is_over_the_dense_model_though_operations_become_cheaper(monkeypatch):
    """A tenth of the cost is not pruned; ReLU makes the whole model 1.5 times faster."""
    timed = []

    def measure(config, forward, batch, length):
        timed.append((config.activation, batch, length))
        return linear_cost(STRUCTURE)._replace(rest=linear(TINY) / 9)

    monkeypatch.setattr(budget, "measure_cost", measure)
    monkeypatch.setattr(budget, "right_at", lambda speedup, cost, *_: cost)
    monkeypatch.setattr(budget, "_times_faster", lambda *_: 1.5)
    pattern, params = pattern_of("hybrid", (4, 3)), make_params()

    def plan(value, *cheaper):
        options = BudgetSection("speedup", value, "4x32")
        method = make_method("movement", pattern)
        priced = budget.price(options, TINY, params, cheaper)
        removal = Removal(STRUCTURE, pattern, round_to=1)
        budget.require_reachable(options, priced, params, method, removal)
        return priced.budget

    assert plan(3.0).fraction == pytest.approx(1 / 3)
    assert plan(3.0, "relu").fraction == pytest.approx(1.5 / 3)
    assert timed == [("gelu", 4, 32), ("relu", 4, 32)]
    with pytest.raises(UserError, match="value is 11.*expected speedup of 1 to 10, what hybrid"):
        plan(11.0)
    with pytest.raises(UserError, match="value is 1.2: expected speedup of 1.5 to 15,"):
        plan(1.2, "relu")


def test_the_shape_that_a_speedup_is_asked_for_is_measured_too():
    config = default_config()
    config.budget.shape, config.measure.shapes = "4x32", ("1x128", "8x128")
    assert timed_shapes(validate(config)) == [(1, 128), (8, 128)]
    config.budget.kind, config.budget.value = "speedup", 3.0
    assert timed_shapes(validate(config)) == [(4, 32), (1, 128), (8, 128)]
