"""Budgets: what surgery leaves costs what was asked for, at every step, whatever the scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_methods import scheduled
from tiny import PATTERNS, TINY, make_params, pattern_of

from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.pruning.budget import reachable, within_budget
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods import make_method

# Large enough that a head is a small part of it.
CONFIG = BertConfig(
    vocab_size=20, hidden_size=16, head_dim=2, heads=(8, 8), intermediate=(64, 64), max_positions=8
)
PARAMS = make_params(CONFIG)
STEPS = 1024


def fraction_for(pattern, config=CONFIG):
    structure = bert.describe(config)
    return lambda values: linear_cost(structure).fraction(
        structure, kept_units(structure, pattern, values)
    )


def start(name, pattern, budget=0.3, **options):
    """The method within a budget, and a state with scores drawn at random."""
    inner = make_method(name, pattern, **options)
    method = within_budget(inner, fraction_for(pattern), budget, STEPS)
    state = method.init(jax.random.key(0), PARAMS)
    generator = np.random.default_rng(0)
    learned = jax.tree.map(lambda x: jnp.float32(generator.normal(size=x.shape)), state.learned)
    return method, state._replace(learned=learned)


CASES = [("movement", {}, *pattern) for pattern in PATTERNS] + [
    ("movement", {"binarizer": "top_k"}, "hybrid", (5, 3)),
    ("magnitude", {}, "hybrid", (5, 3)),
    ("l0", {}, "hybrid", (5, 3)),
    ("cofi", {}, "cofi", (1, 1)),
]


@pytest.mark.parametrize(("name", "options", "pattern", "block"), CASES)
def test_what_is_left_costs_what_is_asked_for(name, options, pattern, block):
    pattern = pattern_of(pattern, block, CONFIG)
    inner, fraction = make_method(name, pattern, **options), fraction_for(pattern)
    _, state = start(name, pattern, **options)

    @jax.jit
    def cut(wanted):
        method = within_budget(inner, fraction, wanted, STEPS)
        return fraction(method.masks(state, PARAMS, scheduled(density=wanted), None))

    for wanted in (0.5, 0.15):
        found = float(cut(wanted))
        # One head is 2%; blocks of 5 columns take two or three at once.
        assert wanted - 0.06 <= found <= wanted + 1e-5


def test_ranked_arrays_take_their_next_block_one_after_the_other():
    """MiniLM's heads: all layers would lose one at once, which is 2.8% of the parameters."""
    config = CONFIG.replace(hidden_size=48, head_dim=4, heads=(12,) * 6, intermediate=(192,) * 6)
    pattern, params = pattern_of("struct", (1, 1), config), make_params(config)
    inner, kept = make_method("magnitude", pattern), None

    @jax.jit
    def cut(wanted):
        method = within_budget(inner, fraction_for(pattern, config), wanted, STEPS)
        state = method.init(jax.random.key(0), params)
        return method.masks(state, params, scheduled(density=wanted), None)

    for wanted in (0.4, 0.24):
        values = cut(wanted)
        assert wanted - 0.01 <= float(fraction_for(pattern, config)(values)) <= wanted + 1e-5
        # Still a budget's masks are part of a larger budget's.
        assert kept is None or all((values[name] <= kept[name]).all() for name in kept)
        kept = values


def test_a_smaller_budget_keeps_a_part_of_what_a_larger_one_keeps():
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    kept = []
    for density in (0.5, 0.3, 0.1):
        method, state = start("movement", pattern, density)
        kept.append(method.masks(state, PARAMS, scheduled(density=density), None))
    for larger, smaller in zip(kept, kept[1:], strict=False):
        assert all((smaller[name] <= larger[name]).all() for name in larger)


def test_masks_in_training_are_cut_where_the_last_update_found():
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    method, state = start("movement", pattern)
    rng = jax.random.key(1)
    fraction = fraction_for(pattern)
    assert (
        fraction(method.masks(state, PARAMS, scheduled(density=0.3), rng)) == 1
    )  # nothing cut yet
    update = jax.jit(method.update)
    state, _ = update(state, PARAMS, scheduled(density=0.3), jnp.int32(5))
    assert (
        fraction(method.masks(state, PARAMS, scheduled(density=0.3), rng)) == 1
    )  # not at every step
    state, _ = update(state, PARAMS, scheduled(density=0.3), jnp.int32(16))
    assert fraction(method.masks(state, PARAMS, scheduled(density=0.3), rng)) == pytest.approx(
        0.3, abs=0.01
    )
    assert update._cache_size() == 1


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, 1 - 0.7 * 0.25), (1.0, 0.3), (0.48, None)],
    ids=["not above the allowance", "not below the budget", "the schedule's own"],
)
def test_on_the_way_the_threshold_is_the_schedules_between_two_bounds(threshold, expected):
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    method, state = start("movement", pattern)
    fraction = fraction_for(pattern)
    now = scheduled(threshold=threshold, density=0.3, progress=0.5)
    found = float(fraction(method.masks(state, PARAMS, now, None)))
    if expected is None:
        inner = make_method("movement", pattern)
        expected = float(fraction(inner.masks(state, PARAMS, now, None)))
        assert 0.35 < expected < 0.8
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("shift", "sign"), [(5.0, 1), (-5.0, -1)])
def test_the_penalty_grows_while_the_scores_are_too_high(shift, sign):
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    method, state = start("movement", pattern)
    state = state._replace(learned=jax.tree.map(lambda x: x + shift, state.learned))
    before = method.penalty(state, PARAMS, scheduled(density=0.3))
    update = jax.jit(method.update)
    # A quarter of the steps, 16 apart.
    for step in range(0, STEPS // 4, 16):
        state, _ = update(state, PARAMS, scheduled(density=0.3), jnp.int32(step))
    ratio = float(method.penalty(state, PARAMS, scheduled(density=0.3)) / before)
    off = np.log(1 / 0.3) if sign > 0 else -1  # at most one
    expected = np.exp(np.clip(off, -1, 1))
    assert ratio == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("name", "shift", "pushes"), [("l0", 5.0, True), ("l0", -5.0, False), ("movement", -5.0, True)]
)
def test_gates_that_close_by_themselves_are_not_pushed_below_the_budget(name, shift, pushes):
    method, state = start(name, pattern_of("hybrid", (4, 2), CONFIG))
    state = state._replace(learned=jax.tree.map(lambda x: x + shift, state.learned))
    state, _ = method.update(state, PARAMS, scheduled(density=0.3), jnp.int32(0))
    assert bool(method.penalty(state, PARAMS, scheduled(density=0.3)) > 0) == pushes


def test_the_least_that_masks_can_leave():
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    assert reachable(make_method("movement", pattern), fraction_for(pattern), PARAMS) == 0
    held = make_method("movement", pattern, floor=0.5)
    assert 0.4 < reachable(held, fraction_for(pattern), PARAMS) < 1


def test_a_method_that_cuts_at_the_end_alone():
    pattern = pattern_of("hybrid", (4, 2), CONFIG)
    method, state = start("group_lasso", pattern)
    update = jax.jit(method.update)
    # A step at which no level can be within the budget, then one between two cuts.
    for step, progress in ((0, 0.5), (17, 1.0)):
        state, params = update(
            state, PARAMS, scheduled(density=0.3, progress=progress), jnp.int32(step)
        )
        jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
    state, params = update(state, PARAMS, scheduled(density=0.3), jnp.int32(32))
    values = method.masks(state, params, scheduled(density=0.3), jax.random.key(0))
    assert 0.2 < fraction_for(pattern)(values) <= 0.3


def test_a_method_that_nothing_cuts_is_refused():
    pattern = pattern_of("unstructured", (1, 1), TINY)
    method = make_method("movement", pattern, binarizer="n_m")
    with pytest.raises(ValueError, match="nothing cuts"):
        within_budget(method, fraction_for(pattern, TINY), 0.3, STEPS)
