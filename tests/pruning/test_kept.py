"""What the masks say is left is what surgery leaves."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import PATTERNS, TINY, make_params, pattern_of, random_values

from bpjax.models import bert
from bpjax.pruning.kept import kept_units, unit_values
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection
from bpjax.pruning.surgery import shrink

PARAMS = make_params()


@pytest.mark.parametrize(("name", "block"), PATTERNS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.floats(0, 1))
def test_kept_units_are_what_surgery_keeps(name, block, seed, density):
    pattern = pattern_of(name, block)
    values = random_values(pattern, seed, density)
    small = shrink(
        apply_masks(PARAMS, build_mask_collection(pattern, values)),
        STRUCTURE,
    )
    left = kept_units(STRUCTURE, pattern, values)
    assert left.units.keys() == small.units.keys()
    for sublayer, alive in left.units.items():
        np.testing.assert_array_equal(np.flatnonzero(alive), small.units[sublayer])


STRUCTURE = bert.describe(TINY)


def test_without_scores_everything_survives():
    left = kept_units(STRUCTURE, Pattern("none", ()), {})
    counts = {name: int(alive.sum()) for name, alive in left.units.items()}
    assert counts == {
        "layer_0/attention": 2,
        "layer_0/ffn": 5,
        "layer_1/attention": 1,
        "layer_1/ffn": 3,
    }


def test_a_layer_that_lost_a_sublayer_has_nothing_left_of_it():
    config = TINY.replace(heads=(0, 1), intermediate=(5, 0))
    pattern = pattern_of("hybrid", (5, 3), config)
    values = random_values(pattern, density=1.0)
    left = jax.jit(lambda v: kept_units(bert.describe(config), pattern, v))(values)
    assert [alive.shape[0] for alive in left.units.values()] == [0, 5, 1, 0]


@pytest.mark.parametrize(
    ("name", "block"), [("struct", (1, 1)), ("hybrid", (4, 2)), ("block", (3, 1))]
)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_values_for_units_leave_these_units(name, block, seed):
    generator = np.random.default_rng(seed)
    wanted = {
        each.name: jax.numpy.asarray(generator.random(each.units) < 0.5)
        for each in STRUCTURE.sublayers
    }
    pattern = pattern_of(name, block)
    values = unit_values(STRUCTURE, pattern, wanted)
    assert {k: x.shape for k, x in values.items()} == {g.name: g.shape for g in pattern.groups}
    left = kept_units(STRUCTURE, pattern, values).units
    for sublayer, alive in wanted.items():
        np.testing.assert_array_equal(left[sublayer], alive)
    # Nothing is left of sublayers that are not named.
    (first, *_) = wanted
    left = kept_units(STRUCTURE, pattern, unit_values(STRUCTURE, pattern, {first: wanted[first]}))
    assert not any(left.units[name].any() for name in wanted if name != first)
