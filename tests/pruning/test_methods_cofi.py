"""CoFi: expected density by hand and by drawing, multipliers that rise, gates kept as expected."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_methods import scheduled, start
from tiny import TINY, pattern_of

from bpjax.models import bert
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.masks import open_probability
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.cofi import expected_density
from bpjax.pruning.summary import mask_density

PATTERN = pattern_of("cofi", (1, 1))


def random_state(seed=0):
    method, state, params = start("cofi", PATTERN)
    generator = np.random.default_rng(seed)
    learned = jax.tree.map(
        lambda x: jnp.float32(generator.normal(scale=2, size=x.shape)), state.learned
    )
    return method, state._replace(learned=learned), params


def test_the_expected_density_by_hand():
    # Heads (2, 1) of 2 and FFNs (5, 3) of 6 hidden dimensions: 4·2·6·3 + 2·6·8 = 240 weights.
    _, state, _ = start("cofi", PATTERN)
    learned = jax.tree.map(lambda x: jnp.full_like(x, 50.0), state.learned)
    assert float(expected_density(PATTERN, learned)) == pytest.approx(1.0)
    half = 2 / 3 * np.log(0.1 / 1.1)  # where a gate is open with a chance of 1/2
    assert float(open_probability(jnp.float32(half))) == pytest.approx(0.5)
    learned["gates"]["layer_0/attention"] = jnp.float32([half, -50.0])
    learned["whole"]["layer_1/ffn"] = jnp.float32(half)
    learned["gates"]["hidden"] = jnp.float32([50, 50, 50, half, half, -50])
    expected = (48 * (0.5 + 0 + 1) + 12 * (5 + 3 * 0.5)) / 240 * (4 / 6)
    assert float(expected_density(PATTERN, learned)) == pytest.approx(expected, rel=1e-5)


def test_the_expected_density_is_the_mean_over_draws():
    method, state, params = random_state()
    cost, structure = linear_cost(bert.describe(TINY)), bert.describe(TINY)

    @jax.jit
    @jax.vmap
    def draw(rng):
        values = method.masks(state, params, scheduled(), rng)
        return cost.fraction(structure, kept_units(structure, PATTERN, values))

    found = draw(jax.random.split(jax.random.key(0), 40_000)).mean()
    assert float(found) == pytest.approx(float(expected_density(PATTERN, state.learned)), abs=0.005)


def test_multipliers_rise_while_above_the_target_and_fall_below():
    method, state, params = start("cofi", PATTERN)
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(learned, opt_state, target):
        def penalty(learned):
            return method.penalty(
                state._replace(learned=learned), params, scheduled(density=target)
            )

        updates, opt_state = optimizer.update(jax.grad(penalty)(learned), opt_state)
        return optax.apply_updates(learned, updates), opt_state

    for target, sign in ((0.2, 1), (1.0, -1)):
        learned, opt_state = state.learned, optimizer.init(state.learned)
        for _ in range(3):
            learned, opt_state = step(learned, opt_state, target)
        assert np.sign(learned["multipliers"]["linear"]) == sign
        assert learned["multipliers"]["quadratic"] > 0
    # And so the density comes down to the target and stays there.
    learned, opt_state = state.learned, optimizer.init(state.learned)
    for _ in range(600):
        learned, opt_state = step(learned, opt_state, 0.3)
        moved, _ = method.update(state._replace(learned=learned), params, scheduled(), 0)
        learned = moved.learned
    assert float(expected_density(PATTERN, learned)) == pytest.approx(0.3, abs=0.03)
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(learned["gates"])])
    assert np.abs(flat).max() <= np.log(100) + 1e-5


def test_evaluation_keeps_as_many_as_are_expected():
    method, state, params = random_state()
    log_alpha = np.array([1.0, -2.0, 0.5, -3.0, 2.0])
    learned = jax.tree.map(lambda x: jnp.full_like(x, 50.0), state.learned)
    learned["gates"]["layer_0/ffn"] = jnp.float32(log_alpha)
    state = state._replace(learned=learned)
    probability = 1 / (1 + np.exp(-(log_alpha - 2 / 3 * np.log(0.1 / 1.1))))
    shut = round(5 - probability.sum())
    assert shut == 2
    expected = 1 / (1 + np.exp(-1.2 * log_alpha))
    expected[[1, 3]] = 0
    values = method.masks(state, params, scheduled(threshold=0.5), None)
    np.testing.assert_allclose(values["layer_0/ffn"], expected, rtol=1e-5)
    # A higher threshold expects less of all, and keeps a part of the same.
    fewer = method.masks(state, params, scheduled(threshold=0.9), None)["layer_0/ffn"]
    assert 0 < (fewer != 0).sum() < 3 and ((fewer == 0) | (fewer == values["layer_0/ffn"])).all()


def test_a_sublayer_that_is_shut_takes_its_heads_along():
    method, state, params = random_state()
    state.learned["whole"]["layer_0/attention"] = jnp.float32(-50.0)
    for rng in (None, jax.random.key(0)):
        values = method.masks(state, params, scheduled(threshold=0.5), rng)
        assert (values["layer_0/attention"] == 0).all()
    assert float(mask_density(PATTERN, values)) <= 1 - 2 * 48 / 240


def test_it_is_traced_and_clamps_its_gates():
    method, state, params = random_state()
    update = jax.jit(method.update)
    learned = jax.tree.map(lambda x: 10 * x, state.learned)
    after, same = update(state._replace(learned=learned), params, scheduled(), 0)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(after.learned["gates"])) <= 4.6052
    masks = jax.jit(method.masks)
    for i in range(1, 4):
        masks(state, params, scheduled(i / 4, i, i / 4), jax.random.key(0))
    assert masks._cache_size() == 1


def test_another_pattern_is_refused():
    with pytest.raises(ValueError, match="method cofi: the pattern is struct: expected cofi"):
        make_method("cofi", pattern_of("struct", (1, 1)))
