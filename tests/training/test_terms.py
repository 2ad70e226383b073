"""Distillation of hidden states, attention and layers: values by hand, no padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from bpjax.models.bert import describe
from bpjax.training import differences
from bpjax.training.terms import TERMS, Compared, Teacher, init_learned, losses_of


def test_hidden_states_are_compared_where_tokens_are_real():
    ours = jnp.array([[[1.0, 1], [5, 5]], [[0, 2], [0, 0]], [[9, 9], [9, 9]]])
    zeros = jnp.zeros_like(ours)
    mask, weight = jnp.array([[1, 0], [1, 1], [1, 0]]), jnp.array([1.0, 1.0, 0.0])
    # Three real tokens with mean squares 1, 2 and 0; the second layer is equal.
    places = mask * weight[:, None]
    value = differences.hidden([ours, zeros], [zeros, zeros], [places, places])
    assert value == pytest.approx((1 + 2) / 3 / 2)
    gradient = jax.grad(lambda t: differences.hidden([ours], [t], [places]))(zeros)
    assert not gradient.any()
    assert differences.hidden([ours], [zeros], [0 * places]) == 0
    # Of two stacks the mean is over the tokens of both.
    both = differences.hidden([ours, zeros[:, :1]], [zeros, zeros[:, :1]], [places, places[:, :1]])
    assert both == pytest.approx((1 + 2) / (3 + 2))


def test_attention_is_compared_at_pairs_of_real_tokens():
    # Two rows of one head: the first has one real token, the second two; a third is padding.
    ours = jnp.full((3, 1, 2, 2), 7.0).at[0, 0, 0, 0].set(1.0).at[1].set(2.0)
    zeros = jnp.zeros_like(ours)
    mask, weight = jnp.array([[1, 0], [1, 1], [1, 1]]), jnp.array([1.0, 1.0, 0.0])
    # Five real pairs with squares 1, 4, 4, 4 and 4; the second layer is equal.
    pairs = mask[:, :, None] * mask[:, None, :] * weight[:, None, None]
    value = differences.attention([ours, zeros], [zeros, zeros], [pairs, pairs])
    assert value == pytest.approx((1 + 4 * 4) / 5 / 2)
    gradient = jax.grad(lambda t: differences.attention([ours], [t], [pairs]))(zeros)
    assert not gradient.any()
    longer, more = (jnp.pad(x, ((0, 0), (0, 0), (0, 3), (0, 3))) for x in (ours, zeros))
    padded = differences.attention([longer], [more], [jnp.pad(pairs, ((0, 0), (0, 3), (0, 3)))])
    assert padded == pytest.approx(2 * value)


def test_the_last_layer_of_each_quarter_is_matched():
    assert differences.matched_layers(12) == [2, 5, 8, 11]
    assert differences.matched_layers(6) == [1, 2, 4, 5]
    assert differences.matched_layers(2) == [0, 1] and differences.matched_layers(1) == [0]


def test_each_layer_of_the_teacher_is_matched_with_the_nearest_that_is_left():
    def states(*values):
        return [jnp.full((1, 2, 3), value) for value in values]

    def distil(alive, **changes):
        student = states(0.0, 1.0, 5.0)
        options = dict(places=jnp.ones((1, 2))) | changes
        return float(differences.layers(student, states(2.0, 4.0), jnp.array(alive), **options))

    # 2 is one from 1, and 4 is one from 5; without the second layer, 2 is two from 0.
    assert distil([True, True, True]) == pytest.approx((1 + 1) / 2)
    assert distil([True, False, True]) == pytest.approx((4 + 1) / 2)
    assert distil([True, False, False]) == pytest.approx((4 + 16) / 2)
    assert distil([False, False, False]) == distil([True, True, True])
    assert distil([True, True, True], places=jnp.array([[1, 0]])) == pytest.approx(1)


def test_only_the_nearest_layer_is_pulled():
    def loss(student):
        teacher = [jnp.full((1, 2, 3), 2.0)]
        alive = jnp.array([True, True, False])
        return differences.layers(list(student), teacher, alive, jnp.ones((1, 2)))

    student = jnp.stack([jnp.full((1, 2, 3), x) for x in (0.0, 1.0, 2.0)])
    gradient = jax.grad(loss)(student)
    assert (gradient[1] < 0).all() and not gradient[0].any() and not gradient[2].any()


def test_layers_that_are_nearest_in_parts_are_those_of_the_whole():
    student = [jnp.array([[[0.0]], [[0.0]]]), jnp.array([[[1.0]], [[9.0]]])]
    teacher, alive = [jnp.array([[[1.0]], [[1.0]]])], jnp.array([True, True])
    places = jnp.ones((2, 1))

    def loss(student, rows, whole=None):
        parts = ([x[rows] for x in states] for states in (student, teacher))
        return differences.layers(*parts, alive, places[rows], whole)

    # The second layer is nearest in the first row, the first in both.
    first, both = slice(0, 1), slice(0, 2)
    assert loss(student, first) == 0 and loss(student, both) == 1
    whole = differences.layer_distances(student, teacher, places)
    np.testing.assert_allclose(whole, [[1.0, 32.0]])
    assert loss(student, first, whole) == 1
    expected, found = jax.grad(loss)(student, both), jax.grad(loss)(student, first, whole)
    for x, y in zip(expected, found, strict=True):
        np.testing.assert_allclose(x[0], y[0] / 2)


def test_similarity_is_of_cosines_of_all_pairs():
    ours = jnp.array([[3.0, 0], [0, 2], [1, 1], [9, -4]])
    theirs = jnp.array([[1.0, 0], [5, 5], [0, 1], [7, 7]])
    weight, root = jnp.array([1.0, 1, 1, 0]), 0.5**0.5
    # Cosines of the pairs: 0, √½, √½ and √½, 0, √½; with each row itself all are 1.
    value = differences.similarity(ours, theirs, weight)
    assert value == pytest.approx(2 * (root**2 + root**2 + 0) / 9, rel=1e-6)
    assert differences.similarity(5 * ours, theirs, weight) == pytest.approx(float(value), rel=1e-6)
    assert differences.similarity(ours, 2 * ours, weight) == pytest.approx(0, abs=1e-12)
    assert differences.similarity(ours, theirs, 0 * weight) == 0
    assert not jax.grad(differences.similarity, 1)(ours, theirs, weight).any()
    # A length of 0 has no direction, and no gradient that is not a number.
    assert jnp.isfinite(jax.grad(differences.similarity)(0 * ours, theirs, weight)).all()


def test_similarity_in_parts_is_the_wholes():
    generator = np.random.default_rng(0)
    ours, theirs = (jnp.asarray(generator.normal(size=(6, 4))) for _ in range(2))
    weight = jnp.array([1.0, 1, 1, 1, 1, 0])
    expected = jax.value_and_grad(differences.similarity)(ours, theirs, weight)
    whole = differences.similarity_means(ours, theirs, weight)

    def by_parts(ours):
        parts = [slice(0, 4), slice(4, 6)]
        shares = [weight[part].sum() / weight.sum() for part in parts]
        found = [differences.similarity(ours[x], theirs[x], weight[x], whole) for x in parts]
        return sum(share * x for share, x in zip(shares, found, strict=True))

    found = jax.value_and_grad(by_parts)(ours)
    for x, y in zip(expected, found, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def structure(**changes):
    return describe(TINY.replace(**changes))


def test_a_term_says_why_two_models_do_not_fit():
    ours = structure()
    wider, fewer = structure(hidden_size=10), structure(heads=(1, 1))
    deeper = structure(heads=(2, 1, 1), intermediate=(5, 3, 3))
    hidden, attention = TERMS["hidden"].fits, TERMS["attention"].fits
    assert hidden(ours, ours) is hidden(ours, fewer) is None
    told = "has (2, 10) (layers and dimensions), expected the model's (2, 6)"
    assert hidden(ours, wider) == told
    assert hidden(ours, deeper).startswith("has (3, 6)")
    assert attention(ours, ours) is attention(ours, wider) is None
    assert attention(ours, fewer) == "has (1, 1) (heads by layer), expected the model's (2, 1)"
    for name in ("distillation", "layers"):
        assert TERMS[name].fits(ours, deeper) is None


def test_what_terms_learn_lies_where_it_lay(monkeypatch):
    ours, theirs = structure(), structure(hidden_size=10)

    def start(*names):
        pairs = tuple((1.0, name) for name in names)
        return init_learned(Teacher(TINY, {}, terms=pairs), ours, theirs)

    assert start() is None and start("hidden", "attention") is None
    np.testing.assert_array_equal(start("hidden", "layers"), np.eye(6, 10))
    # A second term that learns: each is given what is its own.
    monkeypatch.setitem(TERMS, "shift", shift := TERMS["layers"]._replace(name="shift"))
    assert start("layers", "shift").keys() == {"layers", "shift"}
    monkeypatch.setitem(
        TERMS, "distillation", TERMS["distillation"]._replace(loss=lambda *_: jnp.zeros(()))
    )
    for name in ("layers", "shift"):
        monkeypatch.setitem(TERMS, name, shift._replace(loss=lambda own, _: jnp.asarray(own)))
    teacher = Teacher(TINY, {}, terms=((1.0, "layers"), (1.0, "shift")))
    nothing = Compared(None, None, {}, None, None, None, 1.0)
    found = losses_of(teacher, {"layers": 2.0, "shift": 3.0}, nothing)
    assert found == {"distillation": 0.0, "layers": 2.0, "shift": 3.0}


def test_only_states_and_scores_have_the_teacher_run():
    for name, expected in {"hidden": True, "attention": True, "layers": True}.items():
        assert Teacher(TINY, {}, terms=((1.0, name),)).reads_activations is expected
    assert not Teacher(TINY, {}).reads_activations
