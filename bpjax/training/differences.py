"""How far the activations of a student are from its teacher's: arrays in, one number out.

Padding counts nowhere. The terms of the loss, and what of a model they compare: terms.py.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from bpjax.models.embedding import normalized


def hidden(
    student: Sequence[Float[Array, "batch _ hidden"]],
    teacher: Sequence[Float[Array, "batch _ hidden"]],
    places: Sequence[Num[Array, "batch _"]],
) -> Float[Array, ""]:
    """Mean squared difference of the hidden states, over layers, real tokens and dimensions.

    Args:
      student: states after the embeddings and after each layer.
      teacher: the same from the teacher, as many and as wide; no gradient flows into them.
      places: of each the weight of its tokens, 0 at padding.
    """
    return _mean_square(student, teacher, -1, places)


def attention(
    student: Sequence[Float[Array, "batch heads _ _"]],
    teacher: Sequence[Float[Array, "batch heads _ _"]],
    places: Sequence[Num[Array, "batch _ _"]],
) -> Float[Array, ""]:
    """Mean squared difference of the attention scores, over layers, heads and pairs of real tokens.

    Of the scores before the softmax (Jiao et al. 2020; Xu et al. 2021). Longer padding changes
    nothing, unlike in a mean over all pairs with those of padding set to zero.

    Args:
      student: scores of each layer.
      teacher: the same from the teacher, as many and of as many heads; no gradient flows into them.
      places: of each the weight of its pairs, 0 where one of the two tokens is padding.
    """
    return _mean_square(student, teacher, 1, places)


def layers(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    alive: Bool[Array, " layers"],
    places: Num[Array, "batch length"],
    whole: Float[Array, "matched layers"] | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of some of the teacher's layers, each to the student's nearest.

    Which is nearest changes as the student does (Xia et al. 2022, section 3.3).

    Args:
      student: states after each layer, projected to the teacher's width.
      teacher: states after each of its layers; those of `matched_layers` count, and no gradient
        flows into them.
      alive: which of the student's layers still compute; the others match nothing, unless none do.
      places: the weight of each token, 0 at padding.
      whole: `layer_distances` of the batch that these rows are a part of, by which it is told what
        is nearest; None: they are all.
    """

    def least(distances: Array) -> Array:
        return jnp.where(alive | ~alive.any(), distances, jnp.inf).min(1).mean()

    distances = layer_distances(student, teacher, places)
    return least(distances) if whole is None else jnp.vdot(jax.grad(least)(whole), distances)


def layer_distances(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    places: Num[Array, "batch length"],
) -> Float[Array, "matched layers"]:
    """Mean squared differences of the teacher's `matched_layers` to all of the student's.

    Args:
      student: see `layers`.
      teacher: see `layers`.
      places: the weight of each token, 0 at padding.
    """
    chosen = [teacher[i] for i in matched_layers(len(teacher))]
    return jnp.stack(
        [
            jnp.stack([_mean_square([ours], [theirs], -1, [places]) for ours in student])
            for theirs in chosen
        ]
    )


def matched_layers(count: int) -> list[int]:
    """The last layer of each quarter of a teacher: 2, 5, 8 and 11 of 12."""
    return sorted({max(0, -(-count * quarter // 4) - 1) for quarter in (1, 2, 3, 4)})


def similarity(
    student: Float[Array, "batch dimensions"],
    teacher: Float[Array, "batch dimensions"],
    weight: Float[Array, " batch"],
    whole: Float[Array, "3 dimensions dimensions"] | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of the cosines of embeddings, over all pairs of rows of a batch.

    Args:
      student: embeddings of rows, of any length.
      teacher: the same from the teacher; no gradient flows into them.
      weight: of each row, 0 for padding rows.
      whole: `similarity_means` of the batch that these rows are a part of, with whose other rows
        they are paired, too; None: they are all.
    """
    if whole is None:
        ours, theirs = normalized(student), normalized(jax.lax.stop_gradient(teacher))
        pairs = weight[:, None] * weight[None, :]
        squares = jnp.square(ours @ ours.T - theirs @ theirs.T)
        return jnp.sum(squares * pairs) / jnp.maximum(pairs.sum(), 1)

    def of_means(means: Array) -> Array:
        # The squares of all pairs' differences, multiplied out, are products of sums over rows.
        return jnp.vdot(jnp.array([1.0, -2.0, 1.0]), jnp.square(means).sum((1, 2)))

    value, slope = jax.value_and_grad(of_means)(whole)
    # Its tangent at the whole batch's means: the parts' sum has the whole's value and gradient.
    return jnp.vdot(slope, similarity_means(student, teacher, weight)) - value


def similarity_means(
    student: Float[Array, "batch dimensions"],
    teacher: Float[Array, "batch dimensions"],
    weight: Float[Array, " batch"],
) -> Float[Array, "3 dimensions dimensions"]:
    """Means over rows of s sᵀ, s tᵀ and t tᵀ, of both models' embeddings of length 1.

    Args:
      student: see `similarity`.
      teacher: see `similarity`.
      weight: of each row, 0 for padding rows.
    """
    ours, theirs = normalized(student), normalized(jax.lax.stop_gradient(teacher))
    shares = weight / jnp.maximum(weight.sum(), 1)
    pairs = ((ours, ours), (ours, theirs), (theirs, theirs))
    return jnp.stack([jnp.einsum("n,ni,nj->ij", shares, x, y) for x, y in pairs])


def _mean_square(student, teacher, axis, places):
    """Squared difference, averaged over an axis, and over the weighted places of all layers."""
    total = count = jnp.zeros(())
    for ours, theirs, weight in zip(student, teacher, places, strict=True):
        squares = jnp.square(ours - jax.lax.stop_gradient(theirs)).mean(axis)
        total, count = total + jnp.sum(squares * weight), count + weight.sum()
    return total / jnp.maximum(count, 1)
