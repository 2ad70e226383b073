"""Reweighted group lasso (Li et al. 2020; details beyond its abstract are not confirmed)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from bpjax.pruning.methods.base import Method, MethodState, require
from bpjax.pruning.methods.ranking import keep_best
from bpjax.pruning.patterns import (
    Pattern,
    Scores,
    apply_masks,
    build_mask_collection,
    sum_over_blocks,
)


def group_lasso(
    pattern: Pattern,
    *,
    strength: float | int = 1e-4,
    squared: bool = False,
    epsilon: float | int = 1e-8,
    reweight_every: int = 200,
) -> Method:
    """Shrinks groups of weights until the weakest can be cut; then the rest is retrained.

    While the schedule moves, the loss has the term `λ·Σ_g γ_g·‖W_g‖` with
    `γ_g = 1 / (‖W_g‖ + ε)`, recomputed now and then without gradient; or the same of `‖W_g‖²`. When
    the schedule comes to its end, the groups of the largest norms are kept, the others are set to
    zero for good, and training goes on without the term.

    The groups are the pattern's: whole blocks; or the rows or columns inside larger ones, as blocks
    of 1×b or b×1.

    Args:
      pattern: which kernels are scored, in what blocks.
      strength: λ, which follows no schedule.
      squared: of the squared norms.
      epsilon: ε.
      reweight_every: steps between two reweightings.

    Raises:
      ValueError: a negative strength, an ε that is not above 0, or a cadence below 1.
    """
    require("strength", strength, 0)
    require("epsilon", epsilon, 1e-30)
    require("reweight_every", reweight_every, 1)

    def norms(params: dict) -> Scores:
        squares = sum_over_blocks(pattern, params, jnp.square)
        return squares if squared else jax.tree.map(_root, squares)

    def weights(params: dict) -> Scores:
        return jax.tree.map(lambda norm: 1 / (norm + epsilon), norms(params))

    def init(rng, params):
        del rng
        return MethodState({}, weights(params))

    def mask_values(state, params, scheduled, rng):
        del state, rng
        scores = jax.lax.stop_gradient(norms(params))
        return jax.tree.map(
            lambda kept: jnp.where(scheduled.progress < 1, 1.0, kept), keep_best(scores, scheduled)
        )

    def penalty(state, params, scheduled):
        terms = jax.tree.map(lambda g, n: jnp.sum(g * n), state.fixed, norms(params))
        total = sum(jax.tree.leaves(terms), jnp.zeros(()))
        return jnp.where(scheduled.progress < 1, strength * total, 0.0)

    def update(state, params, scheduled, step):
        def cut() -> dict:
            values = mask_values(state, params, scheduled, None)
            return apply_masks(params, build_mask_collection(pattern, values))

        params = jax.lax.cond(scheduled.progress < 1, lambda: params, cut)
        fixed = jax.lax.cond(
            step % reweight_every == 0, lambda: weights(params), lambda: state.fixed
        )
        return MethodState(state.learned, fixed), params

    return Method(init, mask_values, penalty, update, penalized=False, cut_by="density")


def _root(square: Array) -> Array:
    # The root's derivative at 0 is infinite; a group that is gone pulls on nothing.
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
