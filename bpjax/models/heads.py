"""What a model is asked: one record a head, the only place that knows how its outputs lie.

To add a head, describe it in `HEADS`; an architecture says which of them it has
(`Architecture.heads`). Losses and distillations are means over the rows or tokens of a batch by
their weight, 0 for a batch that is all padding; a head says over which, so that means of parts of a
batch add up to the whole batch's.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from bpjax.models.inputs import (
    ATTENTION_MASK,
    DECODER_MASK,
    END,
    LABEL,
    LENGTH,
    START,
    TARGET_LENGTH,
    WEIGHT,
    Input,
)

Batch = Mapping[str, Any]
"""Arrays by name: `attention_mask` [batch, length], `weight` [batch], and the head's labels."""

NO_LABEL = -100
"""The label of a token that has none, such as a mark or the rest of a word: it costs nothing."""

Places = Callable[[Batch], Num[Array, "..."]]
"""What of a batch a mean is over: a weight for each row or each token."""


def rows(batch: Batch) -> Num[Array, " batch"]:
    """The weight of each row."""
    return batch[WEIGHT]


def real_tokens(batch: Batch, mask: str = ATTENTION_MASK) -> Num[Array, "batch _"]:
    """The weight of each token: its row's, 0 at padding.

    Args:
      batch: of rows.
      mask: which tokens, see `Kernel.tokens`.
    """
    return batch[mask] * batch[WEIGHT][:, None]


def labelled_tokens(batch: Batch) -> Num[Array, "batch length"]:
    """The weight of each token: its row's, 0 at padding and where it has no label."""
    return real_tokens(batch) * (batch[LABEL] != NO_LABEL)


def target_tokens(batch: Batch) -> Num[Array, "batch target_length"]:
    """The weight of each token that a decoder is to write: its row's, 0 at padding."""
    return batch[WEIGHT][:, None] * (batch[LABEL] != NO_LABEL)


class Head(NamedTuple):
    """One kind of output.

    Attributes:
      name: its key in `HEADS` and in a model's config.
      per_token: outputs are `[batch, length, outputs]`, of which a row has those of its real
        tokens; else `[batch, outputs]`.
      outputs: how many outputs a model has that is asked for so many labels.
      labels: what the loss wants of a batch.
      loss: (outputs, batch): the mean loss. None: there are no labels to train it on.
      distill: (student's outputs, teacher's, batch, temperature): the mean cost of the difference;
        no gradient flows into the teacher's. None: there is nothing to compare.
      decide: from one row's outputs, without padding, to what they predict. None: nothing discrete.
      auto_class: the class of transformers that loads such a model.
      card_task: the task of the model card, in the hub's words.
      onnx_outputs: what an ONNX model's outputs are called; where several are logits, each is one
        of our outputs.
      problem_type: what transformers calls it, of the heads that share a class there.
      bias: of a new head, from the labels `[rows, …]` to train on; None: zeros.
      loss_over: what `loss` is a mean over.
      distill_over: what `distill` is a mean over.
      reads_all: outputs by row are made of the states of all its tokens, not of the first alone.
      mask: of outputs by token, the array of a batch that is 1 at a row's real ones.
      vocabulary: the outputs are the tokens of the model's vocabulary: a task has no say in it.
      generates: what such a model says is a text that it writes token by token; the outputs say
        only which token comes next, where those before are given.
    """

    name: str
    per_token: bool
    outputs: Callable[[int], int]
    labels: tuple[Input, ...]
    loss: Callable[[Array, Batch], Array] | None
    distill: Callable[[Array, Array, Batch, float], Array] | None
    decide: Callable[[np.ndarray], np.ndarray] | None
    auto_class: str
    card_task: str
    onnx_outputs: tuple[str, ...] = ("logits",)
    problem_type: str | None = None
    bias: Callable[[np.ndarray], np.ndarray] | None = None
    loss_over: Places = rows
    distill_over: Places = rows
    reads_all: bool = False
    mask: str = ATTENTION_MASK
    vocabulary: bool = False
    generates: bool = False


def weighted_mean(
    values: Float[Array, "*places"], weight: Num[Array, "*places"]
) -> Float[Array, ""]:
    """Mean of `values` by `weight`; 0 for a batch that is all padding."""
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1)


def _wide(logits):
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _divergence(student, teacher, temperature):
    """`KL(softmax(teacher / T) ‖ softmax(student / T)) · T²` over the last axis."""
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature, axis=-1)
    log_q = jax.nn.log_softmax(student / temperature, axis=-1)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1) * temperature**2


def classification_loss(logits: Float[Array, "batch labels"], batch: Batch) -> Float[Array, ""]:
    """Softmax cross-entropy of `label`, in fp32 at least."""
    losses = optax.softmax_cross_entropy_with_integer_labels(_wide(logits), batch[LABEL])
    return weighted_mean(losses, rows(batch))


def distill_classes(
    student: Float[Array, "batch labels"],
    teacher: Float[Array, "batch labels"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """`KL(softmax(teacher / T) ‖ softmax(student / T)) · T²` (Hinton et al. 2015)."""
    return weighted_mean(_divergence(student, teacher, temperature), rows(batch))


def multi_label_loss(logits: Float[Array, "batch labels"], batch: Batch) -> Float[Array, ""]:
    """Binary cross-entropy of each `label`, averaged over labels, in fp32 at least."""
    losses = optax.sigmoid_binary_cross_entropy(_wide(logits), batch[LABEL])
    return weighted_mean(losses.mean(-1), batch[WEIGHT])


def log_odds(labels: Float[np.ndarray, "rows labels"]) -> Float[np.ndarray, " labels"]:
    """Of each label, `log(p / (1 - p))` of its share p among the rows, counting one of either more.

    Where labels are rare, a head that starts at p = 0.5 first spends a stage on learning that they
    are (Lin et al. 2017, section 3.3).
    """
    have = labels.sum(axis=0) + 1.0
    return np.log(have) - np.log(len(labels) + 2 - have)


def distill_labels(
    student: Float[Array, "batch labels"],
    teacher: Float[Array, "batch labels"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """As for classes, where each label is a distribution of two: its own, and all but it."""

    def both(logits):
        return jnp.stack([logits, jnp.zeros_like(logits)], axis=-1)

    costs = _divergence(both(student), both(teacher), temperature)
    return weighted_mean(costs.mean(-1), batch[WEIGHT])


def regression_loss(logits: Float[Array, "batch 1"], batch: Batch) -> Float[Array, ""]:
    """Squared error of the score `label`, in fp32 at least."""
    losses = jnp.square(_wide(logits)[:, 0] - batch[LABEL])
    return weighted_mean(losses, rows(batch))


def distill_scores(
    student: Float[Array, "batch 1"],
    teacher: Float[Array, "batch 1"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """The squared difference: one number has no distribution, and so no temperature."""
    del temperature
    squares = jnp.square(student - jax.lax.stop_gradient(teacher))[:, 0]
    return weighted_mean(squares, rows(batch))


def span_loss(logits: Float[Array, "batch length 2"], batch: Batch) -> Float[Array, ""]:
    """Mean of the cross-entropies of start and end over the real tokens, in fp32 at least."""
    logits = _wide(logits)
    real = batch[ATTENTION_MASK][:, :, None] == 1
    log_probs = jax.nn.log_softmax(jnp.where(real, logits, jnp.finfo(logits.dtype).min), axis=1)
    numbers = jnp.arange(logits.shape[0])
    start = log_probs[numbers, batch[START], 0]
    end = log_probs[numbers, batch[END], 1]
    return weighted_mean(-(start + end) / 2, rows(batch))


def distill_spans(
    student: Float[Array, "batch length 2"],
    teacher: Float[Array, "batch length 2"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """As for classes: start and end are two distributions over the real tokens, averaged."""

    def over_positions(logits):
        # The lowest finite number over T stays finite; its probability is exactly 0.
        mask = batch[ATTENTION_MASK][:, None, :] > 0
        return jnp.where(mask, jnp.moveaxis(logits, -1, 1), -1e30)

    both = _divergence(over_positions(student), over_positions(teacher), temperature)
    return weighted_mean(both.mean(-1), rows(batch))


def token_loss(logits: Float[Array, "batch length labels"], batch: Batch) -> Float[Array, ""]:
    """Softmax cross-entropy over the real tokens that have a `label`, in fp32 at least."""
    return weighted_mean(_token_losses(logits, batch), labelled_tokens(batch))


def target_loss(
    logits: Float[Array, "batch target_length vocabulary"], batch: Batch
) -> Float[Array, ""]:
    """Softmax cross-entropy over the tokens that a decoder is to write, in fp32 at least."""
    return weighted_mean(_token_losses(logits, batch), target_tokens(batch))


def _token_losses(logits: Array, batch: Batch) -> Array:
    labels = batch[LABEL]
    return optax.softmax_cross_entropy_with_integer_labels(
        _wide(logits), jnp.where(labels == NO_LABEL, 0, labels)
    )


def distill_tokens(
    student: Float[Array, "batch length labels"],
    teacher: Float[Array, "batch length labels"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """As for classes, one distribution a token: the mean is over the real tokens of the batch."""
    return weighted_mean(_divergence(student, teacher, temperature), real_tokens(batch))


def distill_targets(
    student: Float[Array, "batch target_length vocabulary"],
    teacher: Float[Array, "batch target_length vocabulary"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """As for tokens, over those that a decoder is to write."""
    return weighted_mean(_divergence(student, teacher, temperature), target_tokens(batch))


def distill_embeddings(
    student: Float[Array, "batch dimensions"],
    teacher: Float[Array, "batch dimensions"],
    batch: Batch,
    temperature: float,
) -> Float[Array, ""]:
    """The squared distance: 2 - 2 cos of embeddings of length 1."""
    del temperature
    squares = jnp.square(student - jax.lax.stop_gradient(teacher)).sum(-1)
    return weighted_mean(squares, rows(batch))


def _as_many(labels: int) -> int:
    return labels


def _best(logits: np.ndarray) -> np.ndarray:
    """Of each distribution, which lies along the last axis, the likeliest."""
    return np.asarray(logits.argmax(-1))


_BY_TOKEN = (Input(LABEL, (LENGTH,), fill=NO_LABEL),)

HEADS = {
    head.name: head
    for head in (
        Head(  # a model without a head: its last hidden states
            "none",
            per_token=True,
            outputs=_as_many,
            labels=(),
            loss=None,
            distill=None,
            decide=None,
            auto_class="AutoModel",
            card_task="feature-extraction",
            onnx_outputs=("last_hidden_state", "pooler_output"),
        ),
        Head(
            "span",
            per_token=True,
            outputs=lambda _: 2,
            labels=(Input(START, ()), Input(END, ())),
            loss=span_loss,
            distill=distill_spans,
            decide=lambda logits: logits.argmax(0),
            auto_class="AutoModelForQuestionAnswering",
            card_task="question-answering",
            onnx_outputs=("start_logits", "end_logits"),
        ),
        Head(
            "classification",
            per_token=False,
            outputs=_as_many,
            labels=(Input(LABEL, ()),),
            loss=classification_loss,
            distill=distill_classes,
            decide=_best,
            auto_class="AutoModelForSequenceClassification",
            card_task="text-classification",
            problem_type="single_label_classification",
        ),
        Head(  # each label for itself: a row has any number of them
            "multi_label",
            per_token=False,
            outputs=_as_many,
            labels=(Input(LABEL, ("labels",), "float32"),),  # 0 or 1 each
            loss=multi_label_loss,
            distill=distill_labels,
            decide=lambda logits: logits > 0,
            auto_class="AutoModelForSequenceClassification",
            card_task="text-classification",
            problem_type="multi_label_classification",
            bias=log_odds,
        ),
        Head(
            "regression",
            per_token=False,
            outputs=lambda _: 1,
            labels=(Input(LABEL, (), "float32"),),
            loss=regression_loss,
            distill=distill_scores,
            decide=None,
            auto_class="AutoModelForSequenceClassification",
            card_task="text-classification",
            problem_type="regression",
        ),
        Head(
            "tokens",
            per_token=True,
            outputs=_as_many,
            labels=_BY_TOKEN,
            loss=token_loss,
            distill=distill_tokens,
            decide=_best,
            auto_class="AutoModelForTokenClassification",
            card_task="token-classification",
            loss_over=labelled_tokens,
            distill_over=real_tokens,
        ),
        Head(  # as many labels as dimensions
            "embedding",
            per_token=False,
            outputs=_as_many,
            labels=(),
            loss=None,
            distill=distill_embeddings,
            decide=None,
            auto_class="AutoModel",
            card_task="sentence-similarity",
            onnx_outputs=("sentence_embedding",),
            reads_all=True,
        ),
        Head(  # of a decoder that writes a text, having read another
            "seq2seq",
            per_token=True,
            outputs=_as_many,
            labels=(Input(LABEL, (TARGET_LENGTH,), fill=NO_LABEL),),
            loss=target_loss,
            distill=distill_targets,
            decide=_best,
            auto_class="AutoModelForSeq2SeqLM",
            card_task="text2text-generation",
            loss_over=target_tokens,
            distill_over=target_tokens,
            mask=DECODER_MASK,
            vocabulary=True,
            generates=True,
        ),
        Head(
            "language",
            per_token=True,
            outputs=_as_many,
            labels=_BY_TOKEN,
            loss=token_loss,
            distill=distill_tokens,
            decide=_best,
            auto_class="AutoModelForCausalLM",
            card_task="text-generation",
            loss_over=labelled_tokens,
            distill_over=real_tokens,
            vocabulary=True,
        ),
    )
}
"""All heads, by name."""
