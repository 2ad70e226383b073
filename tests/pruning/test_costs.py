"""Costs: counts agree with the models', tables with what was measured."""

import jax
import jax.numpy as jnp
import pytest
from tiny import TINY, make_params

from bpjax.measure.cost_table import measure_cost
from bpjax.models import bert
from bpjax.pruning.costs import Cost, Table, linear_cost, parameter_cost
from bpjax.pruning.kept import KeptUnits
from bpjax.training.evaluation import forward

STRUCTURE = bert.describe(TINY)
SMALLER = TINY.replace(heads=(1, 0), intermediate=(0, 2))


def count(config):
    shapes = jax.eval_shape(lambda: bert.init(config, jax.random.key(0)))
    return sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize("config", [TINY, SMALLER])
def test_counts_are_those_of_the_models(config):
    sizes = config.heads, config.intermediate
    assert linear_cost(STRUCTURE).total(*sizes) == config.linear_parameters()
    found = parameter_cost(STRUCTURE, count(TINY)).total(*sizes)
    # A sublayer without channels keeps its output's bias, which is not a channel's.
    assert found == count(config)


def test_the_fraction_is_of_the_whole_model():
    heads = (jnp.array([True, False]), jnp.array([False]))
    dimensions = (jnp.zeros(5, bool), jnp.array([True, True, False]))
    expected = SMALLER.linear_parameters() / TINY.linear_parameters()
    assert linear_cost(STRUCTURE).fraction(
        KeptUnits(heads, dimensions, jnp.ones(6, bool))
    ) == pytest.approx(expected)


def test_dimensions_are_counted_as_surgery_rounds_them():
    heads = (jnp.array([True, False]), jnp.array([False]))
    dimensions = (jnp.arange(5) < 3, jnp.zeros(3, bool))
    left = KeptUnits(heads, dimensions, jnp.ones(6, bool))
    for multiple, sizes in ((2, (4, 0)), (4, (4, 0)), (8, (5, 0))):
        expected = TINY.replace(heads=(1, 0), intermediate=sizes).linear_parameters()
        found = linear_cost(STRUCTURE).fraction(left, round_to=multiple)
        assert found == pytest.approx(expected / TINY.linear_parameters())


def test_a_table_is_linear_between_its_sizes():
    table = Table((0.0, 2.0, 4.0), (0.0, 10.0, 12.0))
    cost = Cost((table,), (table,), 3.0)
    assert cost.total([1], [3]) == pytest.approx(3 + 5 + 11)
    assert cost.total([0], [4]) == pytest.approx(3 + 12)


def test_a_measured_table_rises_with_size():
    config = TINY.replace(heads=(2, 2), intermediate=(64, 64))
    cost = measure_cost(config, forward, 2, 8, seconds=2.0)
    assert cost.rest > 0
    assert cost.attention[0].sizes == (0.0, 1.0, 2.0)
    assert cost.ffn[1].sizes == (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 48.0, 64.0)
    for table in (*cost.attention, *cost.ffn):
        assert table.costs[0] == 0 and list(table.costs) == sorted(table.costs)
    assert count(config) and make_params(config)
