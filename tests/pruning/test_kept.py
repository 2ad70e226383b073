"""What the masks say is left is what surgery leaves."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DOUBLE, PATTERNS, TINY, make_params, pattern_of, random_values

from bpjax.models import bert
from bpjax.pruning.kept import kept_units
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
        bert.activation(TINY),
    )
    left = kept_units(STRUCTURE, pattern, values)
    for found, kept in (
        (left.heads, small.kept_heads),
        (left.dimensions, small.kept_dimensions),
    ):
        for alive, indices in zip(found, kept, strict=True):
            np.testing.assert_array_equal(np.flatnonzero(alive), indices)


STRUCTURE = bert.describe(TINY)


def test_without_scores_everything_survives():
    left = kept_units(STRUCTURE, Pattern("none", ()), {})
    assert tuple(int(alive.sum()) for alive in left.heads) == TINY.heads
    assert tuple(int(alive.sum()) for alive in left.dimensions) == DOUBLE.intermediate


def test_a_layer_that_lost_a_sublayer_has_nothing_left_of_it():
    config = TINY.replace(heads=(0, 1), intermediate=(5, 0))
    pattern = pattern_of("hybrid", (5, 3), config)
    values = random_values(pattern, density=1.0)
    left = jax.jit(lambda v: kept_units(bert.describe(config), pattern, v))(values)
    assert [alive.shape[0] for alive in left.heads] == [0, 1]
    assert [alive.shape[0] for alive in left.dimensions] == [5, 0]
