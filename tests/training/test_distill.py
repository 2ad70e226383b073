"""Distillation of hidden states, attention and layers: values by hand, no padding."""

import jax
import jax.numpy as jnp
import pytest

from bpjax.training.distill import (
    attention_distillation,
    hidden_distillation,
    layer_distillation,
    matched_layers,
)


def test_hidden_states_are_compared_where_tokens_are_real():
    ours = jnp.array([[[1.0, 1], [5, 5]], [[0, 2], [0, 0]], [[9, 9], [9, 9]]])
    zeros = jnp.zeros_like(ours)
    mask, weight = jnp.array([[1, 0], [1, 1], [1, 0]]), jnp.array([1.0, 1.0, 0.0])
    # Three real tokens with mean squares 1, 2 and 0; the second layer is equal.
    value = hidden_distillation([ours, zeros], [zeros, zeros], mask, weight)
    assert value == pytest.approx((1 + 2) / 3 / 2)
    gradient = jax.grad(lambda t: hidden_distillation([ours], [t], mask, weight))(zeros)
    assert not gradient.any()
    assert hidden_distillation([ours], [zeros], mask, jnp.zeros(3)) == 0


def test_attention_is_compared_at_pairs_of_real_tokens():
    # Two rows of one head: the first has one real token, the second two; a third is padding.
    ours = jnp.full((3, 1, 2, 2), 7.0).at[0, 0, 0, 0].set(1.0).at[1].set(2.0)
    zeros = jnp.zeros_like(ours)
    mask, weight = jnp.array([[1, 0], [1, 1], [1, 1]]), jnp.array([1.0, 1.0, 0.0])
    # Five real pairs with squares 1, 4, 4, 4 and 4; the second layer is equal.
    value = attention_distillation([ours, zeros], [zeros, zeros], mask, weight)
    assert value == pytest.approx((1 + 4 * 4) / 5 / 2)
    gradient = jax.grad(lambda t: attention_distillation([ours], [t], mask, weight))(zeros)
    assert not gradient.any()
    longer, more = (jnp.pad(x, ((0, 0), (0, 0), (0, 3), (0, 3))) for x in (ours, zeros))
    padded = attention_distillation([longer], [more], jnp.pad(mask, ((0, 0), (0, 3))), weight)
    assert padded == pytest.approx(2 * value)


def test_the_last_layer_of_each_quarter_is_matched():
    assert matched_layers(12) == [2, 5, 8, 11]
    assert matched_layers(6) == [1, 2, 4, 5]
    assert matched_layers(2) == [0, 1] and matched_layers(1) == [0]


def test_each_layer_of_the_teacher_is_matched_with_the_nearest_that_is_left():
    def states(*values):
        return [jnp.full((1, 2, 3), value) for value in values]

    def distil(alive, **changes):
        student = states(0.0, 1.0, 5.0)
        options = dict(mask=jnp.ones((1, 2), jnp.int32), weight=jnp.ones(1)) | changes
        return float(layer_distillation(student, states(2.0, 4.0), jnp.array(alive), **options))

    # 2 is one from 1, and 4 is one from 5; without the second layer, 2 is two from 0.
    assert distil([True, True, True]) == pytest.approx((1 + 1) / 2)
    assert distil([True, False, True]) == pytest.approx((4 + 1) / 2)
    assert distil([True, False, False]) == pytest.approx((4 + 16) / 2)
    assert distil([False, False, False]) == distil([True, True, True])
    assert distil([True, True, True], mask=jnp.array([[1, 0]])) == pytest.approx(1)


def test_only_the_nearest_layer_is_pulled():
    def loss(student):
        places = jnp.ones((1, 2), jnp.int32), jnp.ones(1)
        teacher = [jnp.full((1, 2, 3), 2.0)]
        return layer_distillation(list(student), teacher, jnp.array([True, True, False]), *places)

    student = jnp.stack([jnp.full((1, 2, 3), x) for x in (0.0, 1.0, 2.0)])
    gradient = jax.grad(loss)(student)
    assert (gradient[1] < 0).all() and not gradient[0].any() and not gradient[2].any()
