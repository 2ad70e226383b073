"""Binarizers: from scores to masks of zeros and ones, with straight-through gradients.

Every binarizer counts as the identity in the backward pass (Lagunas et al. 2021, section 3).
Thresholds and densities may be traced, so a schedule that moves them does not recompile. "Above"
is strict everywhere: a score at the threshold is pruned.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Scalar = Float[Array, ""] | float | int
"""A number, traced or not."""


def top_k(scores: Float[Array, "*grid"], density: Scalar) -> Float[Array, "*grid"]:
    """Keeps the highest scores of one array.

    Forward: 1.0 for exactly `int(density * n)` of the n blocks, ties to the lower index; else 0.0.
    Backward: the identity.

    Args:
      scores: one real number a block, unbounded.
      density: kept fraction in [0, 1]. It is held in float32, so a product that falls short of a
        whole number by no more than float32's rounding counts as that number: 7 of 10 at 0.7.
    """
    # One unit in the last place more than the density, which float32 may hold a hair too small.
    count = jnp.floor(jnp.asarray(density, jnp.float32) * scores.size * (1 + 2**-23))
    return _straight_through(_rank(scores) < count.astype(jnp.int32), scores)


def threshold(
    scores: Float[Array, "*grid"], tau: Scalar, floor: float | int = 0.0
) -> Float[Array, "*grid"]:
    """Keeps the scores above `tau`.

    Args:
      scores: one real number a block, unbounded.
      tau: threshold on the score itself.
      floor: fraction in [0, 1], static; above 0, the best `max(1, int(floor * n))` survive.
    """
    return _straight_through(_with_floor(scores > tau, scores, floor), scores)


def sigmoid_threshold(
    scores: Float[Array, "*grid"], tau: Scalar, floor: float | int = 0.0
) -> Float[Array, "*grid"]:
    """Keeps the scores whose logistic is above `tau`: soft movement pruning.

    Args:
      scores: one real number a block, unbounded.
      tau: threshold in [0, 1] on σ(score).
      floor: fraction in [0, 1], static; above 0, the best `max(1, int(floor * n))` survive.
    """
    return _straight_through(_with_floor(jax.nn.sigmoid(scores) > tau, scores, floor), scores)


def _straight_through(
    keep: Bool[Array, "*grid"], scores: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    # The added term is exactly zero forward, and carries the gradient backward.
    return keep.astype(scores.dtype) + (scores - jax.lax.stop_gradient(scores))


def _rank(scores: Float[Array, "*grid"]) -> Int[Array, "*grid"]:
    """Position of every score from the highest (0) down; equal scores by index."""
    order = jnp.argsort(-scores.ravel(), stable=True)
    return jnp.argsort(order).reshape(scores.shape)


def _with_floor(
    keep: Bool[Array, "*grid"], scores: Float[Array, "*grid"], floor: float | int
) -> Bool[Array, "*grid"]:
    # Without a floor there is no need to sort; 1×1 blocks are as many as the weights.
    return keep | (_rank(scores) < max(1, int(floor * scores.size))) if floor > 0 else keep
