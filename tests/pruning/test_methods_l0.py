"""L0: hard concrete gates by hand, their probability by drawing, soft masks folded by surgery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_methods import scheduled, start
from tiny import DOUBLE, PATTERNS, make_params, pattern_of, relative, run, shrunken

from bpjax.models import bert
from bpjax.pruning.masks import hard_concrete, open_probability
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.surgery import shrink


def test_the_penalty_at_zero():
    assert float(open_probability(jnp.zeros(()))) == pytest.approx(0.83182, abs=1e-5)
    method, state, params = start("l0", pattern_of("hybrid", (4, 3)), initial=0.0)
    assert float(method.penalty(state, params, scheduled(penalty=2.0))) == pytest.approx(
        2 * 0.83182, abs=1e-4
    )


def test_evaluation_stretches_and_clips_the_mean():
    # 1.2·σ(S) − 0.1: σ(0) = 1/2 gives 0.5; at S = ∓2.397895, σ = 1/12 and 11/12 give 0 and 1.
    log_alpha = jnp.array([0.0, 1.0, -2.398, 2.398, -50.0, 50.0])
    expected = [0.5, 1.2 * 0.7310586 - 0.1, 0.0, 1.0, 0.0, 1.0]
    np.testing.assert_allclose(hard_concrete(log_alpha, None), expected, atol=1e-6)


@pytest.mark.parametrize("log_alpha", [-1.5, 0.0, 2.197])
def test_gates_are_open_as_often_as_the_probability_says(log_alpha):
    gates = hard_concrete(jnp.full(200_000, log_alpha), jax.random.key(0))
    probability = float(open_probability(jnp.float32(log_alpha)))
    assert float((gates > 0).mean()) == pytest.approx(probability, abs=0.004)
    assert gates.min() == 0.0 and gates.max() == 1.0


def test_a_draw_by_hand():
    rng = jax.random.key(3)
    eps = np.finfo(np.float32).eps
    u = np.asarray(jax.random.uniform(rng, (5,), jnp.float32, eps, 1 - eps), np.float64)
    log_alpha = np.linspace(-1, 1, 5)
    s = 1 / (1 + np.exp(-(np.log(u) - np.log(1 - u) + log_alpha) * 1.5))
    expected = np.clip(1.2 * s - 0.1, 0, 1)
    np.testing.assert_allclose(hard_concrete(jnp.float32(log_alpha), rng), expected, atol=1e-5)


def test_arrays_draw_apart_and_evaluation_draws_nothing():
    method, state, params = start("l0", pattern_of("hybrid", (3, 2)), initial=0.0)
    first, second = (method.masks(state, params, scheduled(), jax.random.key(i)) for i in (0, 1))
    query, key = (np.asarray(first[f"layer_0/attention/{name}"]) for name in ("query", "key"))
    assert (query != key).any() and (query != second["layer_0/attention/query"]).any()
    assert all((x == 0.5).all() for x in method.masks(state, params, scheduled(), None).values())


@pytest.mark.parametrize(("pattern", "block"), PATTERNS)
def test_the_penalty_closes_gates_and_the_rest_is_folded_into_the_weights(pattern, block):
    with jax.enable_x64(True):
        pattern = pattern_of(pattern, block, DOUBLE)
        method, state, _ = start("l0", pattern)
        params = make_params(DOUBLE)
        generator = np.random.default_rng(0)
        scores = {
            group.name: jnp.asarray(generator.normal(-1.0, 2.5, group.shape), "float64")
            for group in pattern.groups
        }
        values = method.masks(state._replace(learned=scores), params, scheduled(), None)
        found = np.concatenate([np.ravel(x) for x in values.values()])
        assert (found == 0).any() and ((found > 0) & (found < 1)).any()
        masks = build_mask_collection(pattern, values)
        small = shrink(apply_masks(params, masks), bert.describe(DOUBLE))
        config = shrunken(DOUBLE, small)
        masked, smaller = run(DOUBLE, params, masks), run(config, small.params)
        assert relative(masked.logits, smaller.logits) < 1e-10
