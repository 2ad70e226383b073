"""Which units are worth keeping: against every choice there is, at any cost."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.pruning.allocation import allocate
from bpjax.pruning.costs import Cost, Table, linear_cost
from bpjax.pruning.kept import KeptUnits

CONFIG = BertConfig(
    vocab_size=20, hidden_size=8, head_dim=2, heads=(2, 3), intermediate=(4, 5), max_positions=8
)
STRUCTURE = bert.describe(CONFIG)
NAMES = [each.name for each in STRUCTURE.sublayers]
ALIVE = {each.name: jnp.ones(each.units, bool) for each in STRUCTURE.sublayers}
LINEAR = linear_cost(STRUCTURE)


def draw(seed):
    generator = np.random.default_rng(seed)
    return {
        each.name: jnp.asarray(generator.lognormal(sigma=2, size=each.units), jnp.float32)
        for each in STRUCTURE.sublayers
    }


def worth(importances, kept):
    return sum(float(importances[name][alive].sum()) for name, alive in kept.items())


def costs(cost, kept, round_to=1):
    return float(cost.fraction(STRUCTURE, KeptUnits(kept, {}), round_to))


allocate_linear = jax.jit(lambda *given: allocate(STRUCTURE, LINEAR, *given))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), allowed=st.floats(0, 1))
def test_no_numbers_of_units_would_be_better(seed, allowed):
    """Of those that spend no more: the last unit of each is what a price cannot split."""
    importances = draw(seed)
    kept = allocate_linear(importances, ALIVE, allowed)
    spent = costs(LINEAR, kept)
    assert spent <= allowed + 1e-5
    best = {name: np.r_[0, np.cumsum(np.sort(x)[::-1])] for name, x in importances.items()}
    heads, dims = 4 * 8 * 2, 2 * 8
    whole = 5 * heads + 9 * dims
    # One unit less than the budget: the bound of a search by price.
    bound = (
        max(
            sum(best[name][n] for name, n in zip(NAMES, counts, strict=True))
            for counts in itertools.product(range(3), range(5), range(4), range(6))
            if (counts[0] + counts[2]) * heads + (counts[1] + counts[3]) * dims
            <= spent * whole - heads + 1e-3
        )
        if spent * whole >= heads
        else 0.0
    )
    assert worth(importances, kept) >= bound - 1e-3
    # Nothing that still fits is left out.
    for name, size in zip(NAMES, (heads, dims) * 2, strict=True):
        assert bool(kept[name].all()) or spent * whole + size > allowed * whole - 1e-3


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_best_of_each_sublayer_stay(seed):
    importances = draw(seed)
    for name, alive in allocate_linear(importances, ALIVE, 0.5).items():
        alive, values = np.asarray(alive), np.asarray(importances[name])
        assert not alive.any() or alive.all() or values[alive].min() >= values[~alive].max()


def test_all_that_is_alive_stays_where_it_costs_no_more():
    """Also units that nothing is known of, and what is gone stays gone."""
    importances = {name: jnp.zeros_like(x) for name, x in draw(0).items()}
    alive = ALIVE | {"layer_1/ffn": jnp.array([True, False, True, False, False])}
    for allowed in (1.0, costs(LINEAR, alive)):
        kept = allocate_linear(importances, alive, allowed)
        for name, value in alive.items():
            np.testing.assert_array_equal(kept[name], value)
    kept = allocate_linear(draw(1), alive, 0.3)
    assert not (kept["layer_1/ffn"] & ~alive["layer_1/ffn"]).any()


def test_a_sublayer_that_costs_most_by_being_there_goes_whole():
    """Measured latencies: flat up to a knee, so that the first unit is dear and others are free."""
    flat = tuple(
        Table(each.name, (0.0, 1.0, float(each.units)), (0.0, 0.9, 1.0))
        for each in STRUCTURE.sublayers
    )
    cost = Cost(flat, rest=1.0)
    importances = {name: jnp.full(len(x), i + 1.0) for i, (name, x) in enumerate(draw(0).items())}
    kept = jax.jit(lambda x: allocate(STRUCTURE, cost, importances, ALIVE, x))(0.6)
    # 0.6 of 5 pays the rest and two sublayers; those of least importance in all are gone.
    assert [int(kept[name].sum()) for name in NAMES] == [0, 4, 0, 5] or [
        int(kept[name].sum()) for name in NAMES
    ] == [0, 0, 3, 5]
    assert costs(cost, kept) <= 0.6 + 1e-6


@pytest.mark.parametrize("round_to", [1, 2, 4])
def test_dimensions_are_kept_in_multiples(round_to):
    importances = draw(3)
    kept = allocate(STRUCTURE, LINEAR, importances, ALIVE, 0.4, round_to)
    assert costs(LINEAR, kept, round_to) <= 0.4 + 1e-5
    for name, units in (("layer_0/ffn", 4), ("layer_1/ffn", 5)):
        count = int(kept[name].sum())
        assert count % round_to == 0 or count == units


def test_units_that_share_kernels_never_cost_more_than_is_allowed():
    attention = STRUCTURE.sublayers[2]
    grouped = attention._replace(units=3, groups=(2, 1))
    structure = STRUCTURE._replace(sublayers=(grouped,))
    cost = Cost(
        (
            Table(grouped.name, (0.0, 3.0), (0.0, 3.0)),
            Table(grouped.name, (0.0, 2.0), (0.0, 6.0), by_group=True),
        )
    )
    for allowed in np.linspace(0, 1, 10):
        for order in itertools.permutations((3.0, 2.0, 1.0)):
            kept = allocate(
                structure, cost, {grouped.name: jnp.array(order)}, ALIVE, float(allowed)
            )
            found = cost.fraction(structure, KeptUnits(kept, {}))
            assert float(found) <= allowed + 1e-6
