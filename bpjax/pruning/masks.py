"""Binarizers: from scores to masks of zeros and ones, with straight-through gradients.

Every binarizer counts as the identity in the backward pass (Lagunas et al. 2021, section 3).
Settings are traced scalars, so a schedule that moves them does not recompile. "More than" is
strict everywhere: a score at the threshold is pruned.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def top_k(scores: Float[Array, "*grid"], density: Float[Array, ""] | float) -> Float[Array, "*grid"]:
    """Keeps the highest scores of one array.

    Forward: 1.0 for exactly `int(density * n)` of the n blocks, ties to the lower index; else 0.0.
    Backward: the identity.

    Args:
      scores: one real number a block, unbounded.
      density: kept fraction in [0, 1].
    """
    return _straight_through(_rank(scores) < _count(density, scores.size), scores)


def threshold(
    scores: Float[Array, "*grid"],
    tau: Float[Array, ""] | float,
    floor: Float[Array, ""] | float = 0.0,
) -> Float[Array, "*grid"]:
    """Keeps the scores above `tau`.

    Args:
      scores: one real number a block, unbounded.
      tau: threshold on the score itself.
      floor: fraction in [0, 1]; above 0, the best `max(1, int(floor * n))` always survive.
    """
    return _straight_through((scores > tau) | _floor(scores, floor), scores)


def sigmoid_threshold(
    scores: Float[Array, "*grid"],
    tau: Float[Array, ""] | float,
    floor: Float[Array, ""] | float = 0.0,
) -> Float[Array, "*grid"]:
    """Keeps the scores whose logistic is above `tau`: soft movement pruning.

    Args:
      scores: one real number a block, unbounded.
      tau: threshold in [0, 1] on σ(score).
      floor: fraction in [0, 1]; above 0, the best `max(1, int(floor * n))` always survive.
    """
    return _straight_through((jax.nn.sigmoid(scores) > tau) | _floor(scores, floor), scores)


def _straight_through(keep: Bool[Array, "*grid"], scores: Float[Array, "*grid"]):
    # The added term is exactly zero forward, and carries the gradient backward.
    return keep.astype(scores.dtype) + (scores - jax.lax.stop_gradient(scores))


def _rank(scores: Float[Array, "*grid"]):
    """Position of every score from the highest (0) down; equal scores by index."""
    order = jnp.argsort(-scores.ravel(), stable=True)
    return jnp.argsort(order).reshape(scores.shape)


def _count(density, n: int):
    # One unit in the last place more, so that a density that float32 holds a hair too small does
    # not lose a block: 7 of 10 at density 0.7.
    return jnp.floor(jnp.asarray(density, jnp.float32) * n * (1 + 2**-23)).astype(jnp.int32)


def _floor(scores, floor):
    count = jnp.where(jnp.asarray(floor) > 0, jnp.maximum(1, _count(floor, scores.size)), 0)
    return _rank(scores) < count
