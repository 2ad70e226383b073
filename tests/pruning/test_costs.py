"""Costs: counts agree with the models', tables with what was measured."""

import json

import jax
import jax.numpy as jnp
import pytest
from tiny import TINY, linear, make_params

from bpjax import models
from bpjax.measure import cost_table
from bpjax.measure.cost_table import measure_cost, right_at
from bpjax.models import bert
from bpjax.pruning.costs import (
    Cost,
    Table,
    cost_from_json,
    cost_to_json,
    linear_cost,
    linear_parameters,
    parameter_cost,
)
from bpjax.pruning.kept import KeptUnits
from bpjax.training.evaluation import forward

STRUCTURE = bert.describe(TINY)
SMALLER = TINY.replace(heads=(1, 0), intermediate=(0, 2))


def count(config):
    shapes = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    return sum(x.size for x in jax.tree.leaves(shapes))


def units_of(config):
    return {each.name: each.units for each in bert.describe(config).sublayers}


def left_of(heads, dimensions):
    """Kept units of two layers, from their numbers."""
    units = {}
    for i in range(2):
        for kind, counts in (("attention", heads), ("ffn", dimensions)):
            name = f"layer_{i}/{kind}"
            units[name] = jnp.arange(units_of(TINY)[name]) < counts[i]
    return KeptUnits(units, {"hidden": jnp.ones(6, bool)})


@pytest.mark.parametrize("config", [TINY, SMALLER])
def test_counts_are_those_of_the_models(config):
    assert linear_cost(STRUCTURE).total(units_of(config)) == linear(config)
    shapes = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    kernels = [x for path, x in jax.tree_util.tree_leaves_with_path(shapes) if is_linear(path)]
    assert linear(config) == sum(x.size for x in kernels)
    found = parameter_cost(STRUCTURE, make_params(TINY)).total(units_of(config))
    # A sublayer without channels keeps its output's bias, which is not a channel's.
    assert found == count(config)


def is_linear(path):
    return path[-1].key == "kernel" and path[0].key.startswith("layer_")


def test_the_fraction_is_of_the_whole_model():
    found = linear_cost(STRUCTURE).fraction(STRUCTURE, left_of((1, 0), (0, 2)))
    assert found == pytest.approx(linear(SMALLER) / linear(TINY))


def test_dimensions_are_counted_as_surgery_rounds_them():
    left = left_of((1, 0), (3, 0))
    for multiple, sizes in ((2, (4, 0)), (4, (4, 0)), (8, (5, 0))):
        expected = linear(TINY.replace(heads=(1, 0), intermediate=sizes))
        found = linear_cost(STRUCTURE).fraction(STRUCTURE, left, round_to=multiple)
        assert found == pytest.approx(expected / linear(TINY))


def test_a_table_is_linear_between_its_sizes():
    sizes, costs = (0.0, 2.0, 4.0), (0.0, 10.0, 12.0)
    cost = Cost((Table("a", sizes, costs), Table("b", sizes, costs)), 3.0)
    assert cost.total({"a": 1, "b": 3}) == pytest.approx(3 + 5 + 11)
    assert cost.total({"a": 0, "b": 4}) == pytest.approx(3 + 12)


def test_tables_of_groups_and_of_a_stream():
    half = Table("a", (0.0, 4.0), (0.0, 40.0), stream="hidden")
    shared = Table("a", (0.0, 2.0), (0.0, 6.0), by_group=True)
    cost = Cost((half, shared), 1.0)
    assert cost.total({"a": 4}, {"a": 2}) == 1 + 40 + 6
    assert cost.total({"a": 2}, {"a": 1}, {"hidden": 0.5}) == 1 + 20 * 0.5 + 3


def test_a_cost_is_read_as_it_was_noted_in_either_form():
    cost = Cost((Table("layer_0/attention", (0.0, 2.0), (0.0, 8.0), stream="hidden"),), 1.5)
    assert cost_from_json(json.loads(json.dumps(cost_to_json(cost)))) == cost
    old = [[[[0.0, 2.0], [0.0, 8.0]]], [[[0.0, 5.0], [0.0, 60.0]]], 0.0, True]
    (attention, ffn), rest = cost_from_json(old)
    assert (attention.sublayer, ffn.sublayer, rest) == ("layer_0/attention", "layer_0/ffn", 0.0)
    assert (attention.costs, ffn.sizes, ffn.stream) == ((0.0, 8.0), (0.0, 5.0), "hidden")


def test_a_measured_table_rises_with_size():
    config = TINY.replace(heads=(2, 2), intermediate=(8, 8))
    cost = measure_cost(config, forward, 2, 8, seconds=1.0)
    assert cost.rest > 0
    tables = {table.sublayer: table for table in cost.tables}
    assert len(tables) == len(cost.tables) == 4
    assert tables["layer_0/attention"].sizes == (0.0, 1.0, 2.0)
    assert tables["layer_1/ffn"].sizes == (0.0, 1.0, 2.0, 4.0, 6.0, 8.0)
    for table in cost.tables:
        assert table.costs[0] == 0 and list(table.costs) == sorted(table.costs)
    assert count(config) and make_params(config)


def test_a_cost_is_right_at_the_speed_that_is_asked_for(monkeypatch):
    """A whole model takes less beside its sublayers than one without any was seen to."""
    config = TINY.replace(heads=(4, 4), intermediate=(32, 32), head_dim=2, hidden_size=8)
    structure, rest = bert.describe(config), 40.0
    cost = linear_cost(structure)._replace(rest=3 * rest)
    asked = []

    def time(timed, shapes, **options):
        counts = {name: bert.describe(forward.args[0]) for name, (forward, _) in timed.items()}
        asked.append([sum(each.units for each in found.sublayers) for found in counts.values()])
        return {
            name: {"2x8": rest + sum(linear_parameters(found).values())}
            for name, found in counts.items()
        }

    monkeypatch.setattr(cost_table, "compare_latency", time)
    found = right_at(3.0, cost, config, forward, 2, 8)
    assert found.rest == pytest.approx(rest)
    assert found.tables == cost.tables
    # Two models are timed, the whole one and one of about a third of the cost.
    ((small, whole),) = asked
    assert 0 < small < whole == sum(each.units for each in structure.sublayers)
    assert right_at(1.1, cost, config, forward, 2, 8) == cost  # too little to be told from noise
