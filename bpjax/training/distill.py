"""Distillation from a teacher: who it is, and how hidden states and attention are compared.

Its outputs are compared as the head says, see `models.heads`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bpjax.models import describe
from bpjax.models.architecture import Config

LOGITS = "teacher_logits"
"""Their name in a batch that brings them along, see `teacher_logits.TeacherLogits`."""


class Teacher(NamedTuple):
    """A dense model to learn from.

    Attributes:
      config: its sizes; they may differ from the student's.
      params: its parameters.
      weight: of the distillation loss, in [0, 1]; the task's loss gets the rest.
      temperature: T of both softmaxes.
      hidden: weight of `hidden_distillation`, which is added to the loss; 0 does without the
        teacher's hidden states, and so without running it where its logits are cached.
      attention: weight of `attention_distillation`, likewise.
      layers: weight of `layer_distillation`, likewise; depth and width may differ.
      replace: chance of a token to be replaced in the rows that `replace_tokens` alters; 0 alters
        none.
    """

    config: Config
    params: dict
    weight: float = 0.9
    temperature: float = 2.0
    hidden: float = 0.0
    attention: float = 0.0
    layers: float = 0.0
    replace: float = 0.0

    @property
    def reads_activations(self) -> bool:
        """Whether hidden states or attention scores are compared."""
        return bool(self.hidden or self.attention or self.layers)

    def projection(self, student: Config) -> Float[Array, "student teacher"] | None:
        """The map at the start of training from the student's hidden states to these: identity.

        None where none is wanted.
        """
        ours, theirs = (describe(x).streams["hidden"].size for x in (student, self.config))
        return jnp.eye(ours, theirs) if self.layers else None


def hidden_distillation(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    mask: Int[Array, "batch length"],
    weight: Float[Array, " batch"],
) -> Float[Array, ""]:
    """Mean squared difference of the hidden states, over layers, real tokens and dimensions.

    Args:
      student: states after the embeddings and after each layer.
      teacher: the same from the teacher, as many and as wide; no gradient flows into them.
      mask: 1 for real tokens, 0 for padding.
      weight: of each row, 0 for padding rows.
    """
    return _mean_square(student, teacher, -1, mask * weight[:, None])


def attention_distillation(
    student: Sequence[Float[Array, "batch heads length length"]],
    teacher: Sequence[Float[Array, "batch heads length length"]],
    mask: Int[Array, "batch length"],
    weight: Float[Array, " batch"],
) -> Float[Array, ""]:
    """Mean squared difference of the attention scores, over layers, heads and pairs of real tokens.

    Of the scores before the softmax (Jiao et al. 2020; Xu et al. 2021). Longer padding changes
    nothing, unlike in a mean over all pairs with those of padding set to zero.

    Args:
      student: scores of each layer.
      teacher: the same from the teacher, as many and of as many heads; no gradient flows into them.
      mask: 1 for real tokens, 0 for padding.
      weight: of each row, 0 for padding rows.
    """
    pairs = mask[:, :, None] * mask[:, None, :] * weight[:, None, None]
    return _mean_square(student, teacher, 1, pairs)


def layer_distillation(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    alive: Bool[Array, " layers"],
    mask: Int[Array, "batch length"],
    weight: Float[Array, " batch"],
) -> Float[Array, ""]:
    """Mean squared difference of some of the teacher's layers, each to the student's nearest.

    Which is nearest changes as the student does (Xia et al. 2022, section 3.3).

    Args:
      student: states after each layer, projected to the teacher's width.
      teacher: states after each of its layers; those of `matched_layers` count, and no gradient
        flows into them.
      alive: which of the student's layers still compute; the others match nothing, unless none do.
      mask: 1 for real tokens, 0 for padding.
      weight: of each row, 0 for padding rows.
    """
    places = mask * weight[:, None]
    chosen = [teacher[i] for i in matched_layers(len(teacher))]
    distances = jnp.stack(
        [
            jnp.stack([_mean_square([ours], [theirs], -1, places) for ours in student])
            for theirs in chosen
        ]
    )
    return jnp.where(alive | ~alive.any(), distances, jnp.inf).min(1).mean()


def matched_layers(count: int) -> list[int]:
    """The last layer of each quarter of a teacher: 2, 5, 8 and 11 of 12."""
    return sorted({max(0, -(-count * quarter // 4) - 1) for quarter in (1, 2, 3, 4)})


def _mean_square(student, teacher, axis, places):
    """Squared difference, averaged over an axis, then over weighted places and over layers."""
    total = jnp.zeros(())
    for ours, theirs in zip(student, teacher, strict=True):
        squares = jnp.square(ours - jax.lax.stop_gradient(theirs)).mean(axis)
        total += jnp.sum(squares * places)
    return total / max(1, len(student)) / jnp.maximum(places.sum(), 1)
