"""The budget stage: what a speedup is over, and at which shapes it is timed."""

import json

import jax
import pytest
from checkpoints import refused
from safetensors.numpy import load_file
from tiny import TINY, linear, make_params, pattern_of

from bpjax.config import default_config, validate
from bpjax.config.sections import BudgetSection
from bpjax.errors import UserError
from bpjax.models import bert
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.quantize import quantize
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.methods import make_method
from bpjax.stages import budget
from bpjax.stages.budget_file import Budget, read_costs, write_budget
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


def test_costs_of_another_run_are_taken_without_timing(monkeypatch, tmp_path):
    monkeypatch.setattr(budget, "measure_cost", lambda *_: pytest.fail("timed"))
    cost = linear_cost(STRUCTURE)
    path = tmp_path / "done.json"
    path.write_text(json.dumps(write_budget(Budget(cost, 0.5))))
    options = BudgetSection("speedup", 2.0, "8x128", str(path))
    assert budget.price(options, TINY, make_params()).budget == Budget(cost, 0.5)
    # Of a model that is smaller already, by the same costs; not of a larger one.
    assert read_costs(str(path), bert.describe(TINY.replace(heads=(1, 1)))) == cost
    for problem, model in (
        ("not the costs of 3 units of layer_0/attention", TINY.replace(heads=(3, 1))),
        ("no costs", TINY),
        ("No such file", TINY),
    ):
        with refused(f"config.budget.costs is .*{problem}.*: expected budget/done.json"):
            read_costs(str(path), bert.describe(model))
        if problem.startswith("not"):
            path.write_text("{}")
        else:
            path.unlink(missing_ok=True)


def test_the_shape_that_a_speedup_is_asked_for_is_measured_too():
    config = default_config()
    config.budget.shape, config.measure.shapes = "4x32", ("1x128", "8x128")
    assert timed_shapes(validate(config)) == [(1, 128), (8, 128)]
    config.budget.kind, config.budget.value = "speedup", 3.0
    assert timed_shapes(validate(config)) == [(4, 32), (1, 128), (8, 128)]


@pytest.mark.parametrize("preset", ["none", "int8"])
def test_bytes_are_those_of_the_saved_model(tmp_path, preset):
    def size(config):
        params = make_params(config)
        if preset != "none":
            config, params = quantize(config, params, preset)
        return sum(x.nbytes for x in jax.tree.leaves(params)), config, params

    whole, config, params = size(TINY)
    save_pretrained(tmp_path / "model", config, params)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert whole == sum(x.nbytes for x in stored.values())
    options = BudgetSection("bytes", whole / 2)
    priced = budget.price(options, TINY, make_params(), preset=preset)
    assert (priced.whole, priced.budget.fraction) == (whole, 0.5)
    smaller = TINY.replace(heads=(1, 1), intermediate=(3, 1))
    units = {each.name: each.units for each in bert.describe(smaller).sublayers}
    assert priced.budget.cost.total(units) == size(smaller)[0]
