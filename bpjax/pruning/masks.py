"""From scores to masks: binarizers with straight-through gradients, and random gates.

Every binarizer counts as the identity in the backward pass (Lagunas et al. 2021, section 3).
Thresholds and densities may be traced, so a schedule that moves them does not recompile. "Above"
is strict everywhere: a score at the threshold is pruned.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

# The hard concrete distribution: its temperature, and the interval that it is stretched to.
_BETA, _LOW, _HIGH = 2 / 3, -0.1, 1.1

Scalar = Float[Array, ""] | float | int
"""A number, traced or not."""


def top_k(
    scores: Float[Array, "*grid"], density: Scalar, nudge: Scalar = 0.0
) -> Float[Array, "*grid"]:
    """Keeps the highest scores of one array.

    Forward: 1.0 for exactly `int(density * n + nudge)` of the n blocks, ties to the lower index;
    else 0.0. Backward: the identity.

    Args:
      scores: one real number a block, unbounded.
      density: kept fraction in [0, 1]. It is held in float32, so a product that falls short of a
        whole number by no more than float32's rounding counts as that number: 7 of 10 at 0.7.
      nudge: in [0, 1); the next block is kept by this share of a block earlier.
    """
    # One unit in the last place more than the density, which float32 may hold a hair too small.
    count = jnp.floor(jnp.asarray(density, jnp.float32) * scores.size * (1 + 2**-23) + nudge)
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


def n_m(
    scores: Float[Array, "rows cols"], n: Int[Array, ""] | int, m: int
) -> Float[Array, "rows cols"]:
    """Keeps the n best of every m scores along the rows, a kernel's inputs: 2:4 for tensor cores.

    Forward: 1.0 for the n highest of each run of m rows of a column, ties to the lower row; a last
    run that is shorter keeps n too, or all it has. Backward: the identity.

    Args:
      scores: one real number a weight, unbounded.
      n: kept of every m; may be traced.
      m: rows of a run.
    """
    rows, cols = scores.shape
    padded = jnp.pad(scores, ((0, -rows % m), (0, 0)), constant_values=-jnp.inf)
    runs, row = padded.reshape(-1, m, cols), jnp.arange(m)
    one, other = runs[:, :, None], runs[:, None]
    earlier = (row < row[:, None])[..., None]
    # How many of its run are above each: for small m many times faster than sorting.
    keep = ((other > one) | (earlier & (other == one))).sum(2) < n
    return _straight_through(keep.reshape(-1, cols)[:rows], scores)


def hard_concrete(
    log_alpha: Float[Array, "*grid"], rng: Key[Array, ""] | None
) -> Float[Array, "*grid"]:
    """Gates in [0, 1] of which some are exactly 0 or 1 (Louizos et al. 2018, equations 10 to 12).

    With u drawn from (0, 1): `clip(1.2·σ((log u − log(1 − u) + log α) / β) − 0.1, 0, 1)`, β = 2/3;
    differentiable, so nothing is straight-through here.

    Args:
      log_alpha: one real number a block; large is open.
      rng: of the draw; None for evaluation, `clip(1.2·σ(log α) − 0.1, 0, 1)`.
    """
    concrete = log_alpha
    if rng is not None:
        tiny = jnp.finfo(log_alpha.dtype).eps
        u = jax.random.uniform(rng, log_alpha.shape, log_alpha.dtype, tiny, 1 - tiny)
        concrete = (jnp.log(u) - jnp.log1p(-u) + log_alpha) / _BETA
    return jnp.clip(jax.nn.sigmoid(concrete) * (_HIGH - _LOW) + _LOW, 0, 1)


def open_probability(log_alpha: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    """Probability that a drawn hard concrete gate is not 0: `σ(log α − β·log(0.1 / 1.1))`."""
    return jax.nn.sigmoid(log_alpha - _BETA * math.log(-_LOW / _HIGH))


def _straight_through(
    keep: Bool[Array, "*grid"], scores: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    # The added term is exactly zero forward, and carries the gradient backward.
    return keep.astype(scores.dtype) + (scores - jax.lax.stop_gradient(scores))


def _rank(scores: Float[Array, "*grid"]) -> Int[Array, "*grid"]:
    """Position of every score from the highest (0) down; equal scores by index."""
    order = jnp.argsort(-scores.ravel(), stable=True)
    return jnp.argsort(order).reshape(scores.shape)


def lowest(scores: Float[Array, "*grid"], count: Float[Array, ""] | int) -> Bool[Array, "*grid"]:
    """Which are the `count` lowest, equal scores by index; the count may be traced."""
    return _rank(scores) >= scores.size - count


def _with_floor(
    keep: Bool[Array, "*grid"], scores: Float[Array, "*grid"], floor: float | int
) -> Bool[Array, "*grid"]:
    # Without a floor there is no need to sort; 1×1 blocks are as many as the weights.
    return keep | (_rank(scores) < max(1, int(floor * scores.size))) if floor > 0 else keep
