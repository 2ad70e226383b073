"""Dimensions of the hidden state: masked at every norm, removed from all that reads or writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    DOUBLE,
    TINY,
    linear,
    make_params,
    pattern_of,
    random_values,
    relative,
    run,
    shrunken,
)

from bpjax.models import bert
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.layers.norm import LayerNorm
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.structure import Stream
from bpjax.pruning.surgery import shrink


def mask_and_shrink(config, seed, *, hidden):
    """Parameters, masks with gates between 0 and 1 among them, and the smaller model."""
    params, pattern = make_params(config, seed), pattern_of("cofi", (1, 1), config)
    soft = np.random.default_rng(seed).uniform(0.5, 1.5, 100)
    values = {k: v * soft[: v.size] for k, v in random_values(pattern, seed, 0.6).items()}
    values["hidden"] = jnp.asarray(np.array(hidden) * soft[: len(hidden)])
    structure, masks = bert.describe(config), build_mask_collection(pattern, values)
    left = kept_units(structure, pattern, values)
    small = shrink(apply_masks(params, masks), structure, streams=left.streams)
    assert {k: len(x) for k, x in small.units.items()} == {
        k: int(x.sum()) for k, x in left.units.items()
    }
    smaller = shrunken(config, small)
    fraction = linear_cost(structure).fraction(structure, left)
    expected = linear(smaller) / linear(config)
    assert float(fraction) == pytest.approx(expected, rel=1e-6)
    return params, masks, small, smaller


@pytest.mark.parametrize("head", ["none", "span", "classification", "regression"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("hidden", [[1, 0, 1, 1, 0, 1], [1] * 6, [0, 0, 0, 0, 1, 1]])
def test_removal_is_exact(family, head, hidden):
    with jax.enable_x64(True):
        labels = {"span": 2, "regression": 1}.get(head, 3)
        types = 0 if family == "distilbert" else 2
        config = DOUBLE.replace(
            model_type=family,
            head=head,
            num_labels=labels,
            type_vocab_size=types,
            embedding_size=3 if family == "electra" else None,
        )
        for seed in range(3):
            params, masks, small, smaller = mask_and_shrink(config, seed, hidden=hidden)
            masked, shrunken = run(config, params, masks), run(smaller, small.params)
            wanted = np.asarray(masked.hidden)[..., small.streams["hidden"]]
            assert relative(shrunken.hidden, wanted) < 1e-10
            assert np.count_nonzero(masked.hidden) == np.count_nonzero(wanted)
            if masked.logits is not None:
                assert relative(shrunken.logits, masked.logits) < 1e-10


def test_a_norm_sees_what_is_left_of_a_token():
    x = jnp.array([[1.0, 50.0, 3.0, 5.0]])
    variables = {
        "params": {
            "scale": jnp.array([1.0, 1.0, 2.0, 1.0]),
            "bias": jnp.array([0.0, 9.0, 1.0, 0.0]),
        },
        "masks": {"hidden": jnp.array([1.0, 0.0, 0.5, 1.0])},
    }
    found = LayerNorm(TINY.replace(norm_eps=1e-12)).apply(variables, x)
    step = np.sqrt(1.5)  # of 1, 3 and 5, whose mean is 3 and whose variance is 8/3
    np.testing.assert_allclose(found, [[-step, 0.0, 0.5, step]], rtol=1e-5)


def test_gradients_reach_the_scores_of_dimensions_that_are_left():
    params, pattern = make_params(), pattern_of("cofi", (1, 1))
    values = {group.name: jnp.ones(group.shape) for group in pattern.groups}
    values["hidden"] = values["hidden"].at[2].set(0.0)
    logits = lambda values: run(TINY, params, build_mask_collection(pattern, values)).logits.sum()  # noqa: E731
    gradient = jax.grad(logits)(values)["hidden"]
    assert jnp.isfinite(gradient).all()
    assert (jnp.delete(gradient, 2) != 0).all()


def test_saved_and_loaded(tmp_path):
    _, _, small, smaller = mask_and_shrink(TINY, 0, hidden=[1, 0, 1, 1, 0, 1])
    save_pretrained(tmp_path / "model", smaller, small.params)
    found, params = load_pretrained(tmp_path / "model", head="saved")
    assert (found.hidden_size, found.pooled) == (4, 6)
    assert found.dense_sizes == (TINY.heads, TINY.intermediate, TINY.hidden_size)
    assert linear(found) / linear(bert.ARCHITECTURE.dense(found)) < 4 / 6
    assert relative(run(found, params).logits, run(smaller, small.params).logits) < 1e-6


def test_a_structure_that_names_no_norms_is_refused():
    structure = bert.describe(TINY)._replace(streams={"hidden": Stream(6)})
    with pytest.raises(ValueError, match="pattern cofi: the structure names no norms"):
        make_pattern("cofi", structure)


def test_none_left_is_refused():
    with pytest.raises(ValueError, match="no dimension of the hidden state is left"):
        mask_and_shrink(TINY, 0, hidden=[0] * 6)
