"""Altered rows to distil on: their labels are lost, but the teacher answers (Tang et al. 2019).

Rows of a task are few beside what its model may be asked. Where tokens are exchanged, the student
learns what the teacher makes of inputs that neither has seen.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS, WEIGHT
from bpjax.training.evaluation import Batch

ALTERED_ROWS = 0.5
"""Fraction of the rows that are altered; the others keep their tokens and their label."""


def replace_tokens(batch: Batch, rate: float, rng: Key[Array, ""]) -> tuple[Batch, Batch]:
    """Replaces tokens by others of the batch, as often as they occur there, in half of the rows.

    The first and the last token of a row, and those equal to the last, are its marks ([CLS] and
    [SEP] of BERT, <s> and </s> of RoBERTa): they stay, and replace nothing.

    Args:
      batch: of `training.input.collate`.
      rate: chance of a token of an altered row to be replaced, in [0, 1].
      rng: key of the step.

    Returns:
      The batch with new `input_ids`; and the same with a weight of 0 for altered rows, whose labels
      do not hold.
    """
    tokens, real = batch[INPUT_IDS], batch[ATTENTION_MASK] > 0
    last = jnp.take_along_axis(tokens, real.sum(-1, keepdims=True) - 1, axis=1)
    movable = (real & (tokens != last)).at[:, 0].set(False)
    row_rng, place_rng, token_rng = jax.random.split(rng, 3)
    altered = jax.random.bernoulli(row_rng, ALTERED_ROWS, tokens.shape[:1])
    replaced = movable & altered[:, None] & jax.random.bernoulli(place_rng, rate, tokens.shape)
    # Movable tokens come first in this list; what follows them is not drawn.
    (places,) = jnp.nonzero(movable.ravel(), size=movable.size)
    drawn = jax.random.randint(token_rng, tokens.shape, 0, movable.sum())
    others = tokens.ravel()[places[drawn]]
    batch = {**batch, INPUT_IDS: jnp.where(replaced, others, tokens)}
    return batch, {**batch, WEIGHT: batch[WEIGHT] * ~altered}
