"""Rewind: the heads of an earlier run stay whole, the rest is pruned as ever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_methods import scheduled
from tiny import PATTERNS, TINY, make_params, pattern_of

from bpjax.models import bert
from bpjax.pruning.keep_heads import keep_heads_of
from bpjax.pruning.methods import make_method
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.structure import at

CUTTING = (("magnitude", {"permanent": True}), ("group_lasso", {}))  # weights, by themselves
same = np.testing.assert_array_equal
KEPT = {  # head 1 of layer 0
    "layer_0/attention": jnp.array([False, True]),
    "layer_1/attention": jnp.array([False]),
}


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_kept_heads_are_dense(name, block):
    pattern, structure, params = pattern_of(name, block), bert.describe(TINY), make_params()
    method = keep_heads_of(make_method("movement", pattern), pattern, structure, KEPT)
    state = method.init(jax.random.key(0), params)
    # Scores start at 0, so that a threshold of a half removes everything that is not held.
    values = method.masks(state, params, scheduled(threshold=0.5), None)
    masked = apply_masks(params, build_mask_collection(pattern, values))
    attention, ffn, later, _ = structure.sublayers
    for path in (kernel.path for kernel in attention.reads):
        same(at(masked, path)["kernel"][:, 2:], at(params, path)["kernel"][:, 2:])
    output = at(masked, attention.write.path)["kernel"]
    same(output[2:], at(params, attention.write.path)["kernel"][2:])
    if name in ("struct", "unstructured"):  # whose blocks end where heads do
        assert not output[:2].any()
    assert not at(masked, ffn.reads[0].path)["kernel"].any()
    assert not at(masked, later.reads[2].path)["kernel"].any()


@pytest.mark.parametrize(("name", "options"), CUTTING)
def test_kept_heads_are_dense_where_a_method_cuts_weights(name, options):
    pattern, structure, params = pattern_of("hybrid", (3, 2)), bert.describe(TINY), make_params()
    method = make_method(name, pattern, **options)
    last = scheduled(density=0.0)
    _, cut = method.update(method.init(jax.random.key(0), params), params, last, 0)
    attention, ffn, *_ = structure.sublayers
    value = attention.reads[2].path
    assert not at(cut, value)["kernel"].any()
    held = keep_heads_of(method, pattern, structure, KEPT)
    _, cut = held.update(held.init(jax.random.key(0), params), params, last, 0)
    same(at(cut, value)["kernel"][:, 2:], at(params, value)["kernel"][:, 2:])
    assert not at(cut, ffn.reads[0].path)["kernel"].any()


def test_scores_of_what_is_not_held_learn_as_ever():
    pattern, structure, params = pattern_of("hybrid", (3, 2)), bert.describe(TINY), make_params()
    method = make_method("movement", pattern)
    held = keep_heads_of(method, pattern, structure, KEPT)
    state = method.init(jax.random.key(0), params)

    def total(learned, method):
        values = method.masks(
            state._replace(learned=learned), params, scheduled(threshold=0.9), None
        )
        return values["layer_0/ffn"].sum()

    found, expected = (jax.grad(total)(state.learned, x) for x in (held, method))
    same(found["layer_0/ffn"], expected["layer_0/ffn"])
    assert expected["layer_0/ffn"].any()


def test_a_pattern_with_gates_over_more_than_kernels_is_refused():
    pattern, structure = pattern_of("cofi", (1, 1)), bert.describe(TINY)
    with pytest.raises(ValueError, match="rewind: cofi masks more than kernels"):
        keep_heads_of(make_method("cofi", pattern), pattern, structure, KEPT)
