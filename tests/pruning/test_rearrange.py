"""Exchanges: what the removed units cost together falls, and no exchange is left that helps."""

import itertools

import numpy as np
import pytest

from bpjax.pruning.rearrange import rearrange


def together(gradients, kept):
    return np.square(gradients[:, ~kept].sum(1)).sum()


@pytest.mark.parametrize("seed", range(5))
def test_no_exchange_is_left_that_helps(seed):
    generator = np.random.default_rng(seed)
    gradients = generator.normal(size=(20, 9)) @ generator.normal(size=(9, 9))
    kept = np.arange(9) < 5
    better = rearrange(gradients, kept)
    assert better.sum() == 5 and kept.sum() == 5  # and what was given is as it was
    assert together(gradients, better) <= together(gradients, kept)
    for back, away in itertools.product(np.flatnonzero(~better), np.flatnonzero(better)):
        other = better.copy()
        other[back], other[away] = True, False
        assert together(gradients, other) >= together(gradients, better) - 1e-9


def test_of_two_units_that_do_the_same_one_stays():
    same, other = np.array([1.0, -1.0, 1.0]), np.array([0.0, 1.0, 1.1])
    gradients = np.stack([same, same, other], axis=1)
    # By themselves the two alike are worth 3 each, the other 2.2; without both 12 would be lost.
    kept = rearrange(gradients, np.array([False, False, True]))
    assert kept.tolist() in ([True, False, False], [False, True, False])


@pytest.mark.parametrize("kept", [np.ones(4, bool), np.zeros(4, bool)])
def test_nothing_to_exchange(kept):
    gradients = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_array_equal(rearrange(gradients, kept), kept)
