"""Densities against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PATTERNS, TINY, make_params, pattern_of, random_values

from bpjax.models import bert
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.structure import at, put
from bpjax.pruning.summary import by_layer, mask_density, summarize


def test_a_dense_model():
    layers = by_layer(summarize(make_params(), bert.describe(TINY)))
    assert [layer.name for layer in layers] == ["layer_0", "layer_1"]
    assert [layer.density for layer in layers] == [1.0, 1.0]
    (attention, ffn), (later, _) = (layer.sublayers for layer in layers)
    assert (attention.name, attention.kind) == ("layer_0/attention", "attention")
    assert attention.kernels == dict.fromkeys(("query", "key", "value", "output"), 1.0)
    assert ffn.kernels == {"in": 1.0, "out": 1.0}
    assert (attention.units, later.units, ffn.units) == ((1.0, 1.0), (1.0,), (1.0,) * 5)


def test_counts_by_matrix_head_and_layer():
    params = make_params()  # layer 0: two heads of 6 × 2, five dimensions
    for name, where in (
        (("attention", "query"), np.s_[:, 2:]),  # all 12 of head 1
        (("attention", "value"), np.s_[0, :]),  # 2 of each head
        (("attention", "output"), np.s_[1, :3]),  # 3 of head 0: heads are its rows
        (("ffn", "out"), np.s_[4, :]),  # 6 of 30
    ):
        path = ("layer_0", *name, "kernel")
        params = put(params, path, at(params, path).at[where].set(0))
    layer, later = by_layer(summarize(params, bert.describe(TINY)))
    attention, ffn = layer.sublayers
    assert attention.kernels == pytest.approx(
        {"query": 12 / 24, "key": 1, "value": 20 / 24, "output": 21 / 24}
    )
    assert ffn.kernels == pytest.approx({"in": 1, "out": 24 / 30})
    assert attention.units == pytest.approx((43 / 48, 34 / 48))
    assert attention.density == pytest.approx((43 + 34) / 96)
    assert layer.density == pytest.approx((43 + 34 + 54) / (48 + 48 + 60))
    assert later.density == 1.0


def test_sublayers_that_are_gone():
    config = TINY.replace(heads=(0, 0), intermediate=(5, 0))
    layers = by_layer(summarize(make_params(config), bert.describe(config)))
    (attention, ffn), (_, gone) = (layer.sublayers for layer in layers)
    assert (attention.kernels, attention.units, attention.density) == ({}, (), 1.0)
    assert (ffn.kernels, gone.kernels, gone.units) == ({"in": 1.0, "out": 1.0}, {}, ())
    assert [layer.density for layer in layers] == [1.0, 1.0]


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_mask_density_counts_weights_not_blocks(name, block):
    pattern = pattern_of(name, block)
    values = random_values(pattern, density=0.4)
    masked = apply_masks(make_params(), build_mask_collection(pattern, values))
    kernels = [
        np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(masked)
        if path[-1].key == "kernel" and path[0].key.startswith("layer_")
    ]
    expected = sum(np.count_nonzero(x) for x in kernels) / sum(x.size for x in kernels)
    assert 0.1 < expected < 0.9
    density = jax.jit(lambda values: mask_density(pattern, values))(values)
    np.testing.assert_allclose(density, expected, rtol=1e-6)


def test_mask_density_of_a_ragged_block():
    pattern = pattern_of("block", (4, 5))
    only = pattern._replace(groups=pattern.groups[:1])  # query, 6 × 4: blocks of 16 and 8 weights
    values = {only.groups[0].name: jnp.array([[0.0], [1.0]])}
    assert float(mask_density(only, values)) == pytest.approx(8 / 24)


def test_mask_density_without_scores_is_one():
    pattern = pattern_of("block", (4, 4))._replace(groups=())
    assert float(mask_density(pattern, {})) == 1.0
