"""Rewind: the heads of an earlier run stay whole, the rest is pruned as ever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_methods import knobs
from tiny import PATTERNS, TINY, make_params, pattern_of

from bpjax.models import bert
from bpjax.pruning.methods import make_method
from bpjax.pruning.patterns import apply_masks, spread
from bpjax.pruning.rewind import hold_heads
from bpjax.pruning.structure import at

same = np.testing.assert_array_equal
KEPT = (jnp.array([False, True]), jnp.array([False]))  # head 1 of layer 0


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_kept_heads_are_dense(name, block):
    pattern, structure, params = pattern_of(name, block), bert.describe(TINY), make_params()
    method = hold_heads(make_method("movement", pattern), pattern, structure, KEPT)
    state = method.init(jax.random.key(0), params)
    # Scores start at 0, so that a threshold of a half removes everything that is not held.
    values = method.masks(state, params, knobs(threshold=0.5), None)
    masked = apply_masks(params, spread(pattern, values))
    attention = structure.layers[0].attention
    for path in attention.inputs:
        same(at(masked, path)["kernel"][:, 2:], at(params, path)["kernel"][:, 2:])
    output = at(masked, attention.output)["kernel"]
    same(output[2:], at(params, attention.output)["kernel"][2:])
    if name in ("struct", "unstructured"):  # whose blocks end where heads do
        assert not output[:2].any()
    assert not at(masked, structure.layers[0].ffn.inner)["kernel"].any()
    assert not at(masked, structure.layers[1].attention.value)["kernel"].any()
