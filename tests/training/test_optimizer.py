"""The optimizer: two learning rates, warm-up and decay, clipping, decay of weights only."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bpjax.training.optimizer import make_optimizer

TREE = {"params": {"kernel": jnp.array([1.0, -2.0])}, "learned": {"scores": jnp.array([3.0])}}
ONES = jax.tree.map(jnp.ones_like, TREE)


def moves(count, gradient=ONES, **options):
    """Sizes of the first weight's and the score's steps, one row a step."""
    optimizer = make_optimizer(**options)
    tree, state, found = TREE, optimizer.init(TREE), []
    for _ in range(count):
        updates, state = optimizer.update(gradient, state, tree)
        tree = optax.apply_updates(tree, updates)
        found.append(
            [-float(updates["params"]["kernel"][0]), -float(updates["learned"]["scores"][0])]
        )
    return np.array(found)


def test_rates_rise_over_the_warm_up_and_fall_to_zero():
    # A steady gradient makes each Adam step as long as the learning rate.
    found = moves(10, steps=10, warmup_steps=4, learning_rate=0.1, score_learning_rate=2.0)
    rate = np.array([0, 1, 2, 3, 4, 4 * 5 / 6, 4 * 4 / 6, 4 * 3 / 6, 4 * 2 / 6, 4 / 6]) / 4
    np.testing.assert_allclose(found[:, 0], 0.1 * rate, rtol=1e-4)
    np.testing.assert_allclose(found[:, 1], 2.0 * rate, rtol=1e-4)


def test_without_warm_up_the_first_step_is_the_longest():
    found = moves(4, steps=4, warmup_steps=0, learning_rate=0.1)
    np.testing.assert_allclose(found[:, 0], [0.1, 0.075, 0.05, 0.025], rtol=1e-4)
    assert not found[:, 1].any()  # the scores' rate is 0


@pytest.mark.parametrize(("weights", "scores"), [(0.1, 0.0), (0.0, 0.1)])
def test_each_rate_moves_its_own(weights, scores):
    options = dict(learning_rate=weights, score_learning_rate=scores)
    found = moves(1, steps=4, warmup_steps=0, **options)
    np.testing.assert_allclose(found, [[weights, scores]], rtol=1e-4)


def test_weight_decay_spares_the_scores():
    nothing = jax.tree.map(jnp.zeros_like, TREE)
    options = dict(steps=4, warmup_steps=0, learning_rate=0.1, score_learning_rate=0.1)
    found = moves(1, gradient=nothing, weight_decay=0.5, **options)
    np.testing.assert_allclose(found, [[0.1 * 0.5 * 1.0, 0.0]], rtol=1e-6)


def test_gradients_are_clipped_together():
    # Adam forgets a common factor, but not one that changes from step to step.
    optimizer = make_optimizer(steps=100, warmup_steps=0, learning_rate=1.0, clip=0.5)
    state = optimizer.init(TREE)
    for factor in (1.0, 1000.0):
        gradient = jax.tree.map(lambda x, f=factor: f * x, ONES)
        updates, state = optimizer.update(gradient, state, TREE)
    # Both were cut to a norm of 0.5 over all three numbers, so they count alike.
    np.testing.assert_allclose(updates["params"]["kernel"], -0.99, rtol=1e-4)
    small = make_optimizer(steps=100, warmup_steps=0, learning_rate=1.0, clip=1e9)
    state = small.init(TREE)
    for factor in (1.0, 1000.0):
        gradient = jax.tree.map(lambda x, f=factor: f * x, ONES)
        updates, state = small.update(gradient, state, TREE)
    assert abs(float(updates["params"]["kernel"][0])) != pytest.approx(0.99, rel=1e-2)


def test_a_stage_that_learns_no_scores():
    tree = {"params": TREE["params"], "learned": {}}
    optimizer = make_optimizer(steps=4, warmup_steps=0, learning_rate=0.1)
    updates, _ = optimizer.update({**ONES, "learned": {}}, optimizer.init(tree), tree)
    np.testing.assert_allclose(updates["params"]["kernel"], -0.1, rtol=1e-4)
    assert updates["learned"] == {}
