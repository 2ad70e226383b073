"""Sublayers fitted after a cut: nearer to the whole model, and exact where they can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_step import STILL, make_batch
from tiny import make_params, pattern_of

from bpjax.models.bert import describe
from bpjax.pruning.fits import FITS
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import build_mask_collection
from bpjax.pruning.structure import at, put
from bpjax.training.evaluation import apply, forward
from bpjax.training.reconstruction import reconstruct

STRUCTURE = describe(STILL)
PATTERN = pattern_of("struct", (1, 1), STILL)
BATCHES = [make_batch(rows=30, padding=2, seed=seed) for seed in range(3)]


def fit(params, values, how):
    kept = kept_units(STRUCTURE, PATTERN, values)
    masks = build_mask_collection(PATTERN, values)
    return masks, reconstruct(STILL, params, masks, kept, lambda: BATCHES, how)


@pytest.mark.parametrize("how", FITS)
def test_the_streams_come_nearer_and_only_what_is_kept_changes(how):
    params = make_params(STILL)
    values = {
        "layer_0/attention": jnp.array([1.0, 0.0]),
        "layer_0/ffn": jnp.array([1.0, 0.0, 1.0, 1.0, 0.0]),
    }
    masks, fitted = fit(params, values, how)

    def off(found):
        total = 0.0
        for batch in BATCHES:
            whole, ours = (
                apply(STILL, p, batch, m, activations=True).streams["layer_0/attention"]
                for p, m in ((params, None), (found, masks))
            )
            # Behind the last attention a class is read from the first token alone.
            first = jnp.square(whole - ours).reshape(*batch["input_ids"].shape, -1)[:, 0].sum(-1)
            total += float(jnp.sum(first * batch["weight"]))
        return total

    assert off(fitted) < {"scales": 1.0, "ridge": 0.6}[how] * off(params)
    writes = {each.write.path: each for each in STRUCTURE.sublayers}
    for path, each in writes.items():
        alive = np.repeat(np.asarray(values[each.name]) > 0, each.write.width)
        before, after = (np.asarray(at(tree, path)["kernel"]) for tree in (params, fitted))
        np.testing.assert_array_equal(before[~alive], after[~alive])
        assert (before[alive] != after[alive]).any() == alive.any()
    for path in writes:  # and all else is as it was
        fitted = put(fitted, path, at(params, path))
    jax.tree.map(np.testing.assert_array_equal, fitted, params)


def test_what_a_removed_unit_did_is_taken_over_by_one_that_does_the_same():
    """Of two equal dimensions one goes, and the other does its part."""
    params = make_params(STILL)
    inner, outer = ("layer_0", "ffn", "in"), ("layer_0", "ffn", "out")
    layer = at(params, inner)
    twin = {name: x.at[..., 1].set(x[..., 0]) for name, x in layer.items()}
    params = put(params, inner, twin)
    values = {group.name: jnp.ones(group.shape) for group in PATTERN.groups}
    values["layer_0/ffn"] = values["layer_0/ffn"].at[1].set(0)
    for how in FITS:
        masks, fitted = fit(params, values, how)
        before, masked, after = (
            np.asarray(forward(STILL, p, BATCHES[0], m))[:30]
            for p, m in ((params, None), (params, masks), (fitted, masks))
        )
        assert np.abs(after - before).max() < 0.35 * np.abs(masked - before).max(), how
    kernel = at(params, outer)["kernel"]
    assert jnp.abs(kernel[1]).max() > 0.1  # or there was nothing to take over


@pytest.mark.parametrize("how", FITS)
def test_a_model_that_lost_nothing_is_not_changed(how):
    params = make_params(STILL)
    values = {group.name: jnp.ones(group.shape) for group in PATTERN.groups}
    _, fitted = fit(params, values, how)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), fitted, params)


def test_a_sublayer_without_units_gets_what_its_bias_can_do():
    params = make_params(STILL)
    values = {group.name: jnp.ones(group.shape) for group in PATTERN.groups}
    values["layer_0/attention"] = jnp.zeros_like(values["layer_0/attention"])
    for how in FITS:
        _, fitted = fit(params, values, how)
        path = ("layer_0", "attention", "output")
        moved = float(jnp.abs(at(fitted, path)["bias"] - at(params, path)["bias"]).max())
        assert (moved > 1e-3) == (how == "ridge")
