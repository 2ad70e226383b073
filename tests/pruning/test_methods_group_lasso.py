"""Group lasso: the term by hand, what reweighting makes of it, the cut that lasts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_methods import scheduled, start
from tiny import PATTERNS, pattern_of

from bpjax.pruning.patterns import sum_over_blocks
from bpjax.pruning.structure import at, put

IN = ("layer_0", "ffn", "in")


def kill_a_column(params):
    """A dimension of layer 0 without weights, in and out."""
    for path, where in ((IN, np.s_[:, 0]), (("layer_0", "ffn", "out"), np.s_[0])):
        params = put(params, (*path, "kernel"), at(params, path)["kernel"].at[where].set(0))
    return params


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_after_reweighting_the_term_counts_the_groups_that_are_left(name, block, squared):
    pattern = pattern_of(name, block)
    method, _, params = start("group_lasso", pattern, strength=3.0, squared=squared)
    params = kill_a_column(params)
    state = method.init(jax.random.key(0), params)
    sums = sum_over_blocks(pattern, params, jnp.square)
    left = sum(int((x > 0).sum()) for x in sums.values())
    assert left < sum(x.size for x in sums.values()) or name == "block"
    value = method.penalty(state, params, scheduled(progress=0.0))
    assert value == pytest.approx(3 * left, rel=1e-4)
    gradient = jax.grad(method.penalty, argnums=1)(state, params, scheduled(progress=0.0))
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))


def test_a_term_by_hand():
    pattern = pattern_of("struct", (1, 1))
    method, state, params = start("group_lasso", pattern, strength=2.0)
    weights = jax.tree.map(jnp.ones_like, state.fixed)
    total = 0.0
    for group in pattern.groups:
        for unit in range(group.shape[0]):
            square = 0.0
            for target in group.targets:
                kernel = np.asarray(at(params, target.path)["kernel"], np.float64)
                columns = target.kernel_shape[0] == 6 and target.path[-1] not in ("output", "out")
                width = target.block.cols if columns else target.block.rows
                part = np.s_[unit * width : (unit + 1) * width]
                square += ((kernel[:, part] if columns else kernel[part]) ** 2).sum()
            total += np.sqrt(square)
    found = method.penalty(state._replace(fixed=weights), params, scheduled(progress=0.5))
    assert found == pytest.approx(2 * total, rel=1e-5)


def test_nothing_is_cut_before_the_schedule_ends_and_what_is_cut_stays():
    pattern = pattern_of("hybrid", (4, 3))
    method, state, params = start("group_lasso", pattern)
    before, after = scheduled(density=0.5, progress=0.99), scheduled(density=0.5)
    assert all((x == 1).all() for x in method.masks(state, params, before, None).values())
    update = jax.jit(method.update)
    state, same = update(state, params, before, jnp.int32(1))
    jax.tree.map(np.testing.assert_array_equal, same, params)

    values = method.masks(state, params, after, None)
    state, cut = update(state, params, after, jnp.int32(2))
    for group in pattern.groups:
        assert int(values[group.name].sum()) == int(0.5 * values[group.name].size)
    assert method.penalty(state, cut, after) == 0
    # However what is left moves, what was cut is smaller.
    moved = jax.tree.map(lambda x: x * 0.01, cut)
    for name, again in method.masks(state, moved, after, None).items():
        np.testing.assert_array_equal(again, values[name])


def test_weights_are_recomputed_at_the_cadence():
    pattern = pattern_of("hybrid", (4, 3))
    method, state, params = start("group_lasso", pattern, reweight_every=5)
    halved = jax.tree.map(lambda x: x / 2, params)
    early = scheduled(progress=0.1)
    same, _ = method.update(state, halved, early, jnp.int32(4))
    jax.tree.map(np.testing.assert_array_equal, same.fixed, state.fixed)
    doubled, _ = method.update(state, halved, early, jnp.int32(5))
    for name, weight in doubled.fixed.items():
        np.testing.assert_allclose(weight, 2 * state.fixed[name], rtol=1e-5)
