"""GLUE tasks: one or two sentences in, one class out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base
from bpjax.tasks.source import Source


@dataclasses.dataclass(frozen=True)
class GlueSpec:
    """What differs between GLUE tasks.

    Attributes:
      dataset: TFDS name.
      texts: features that hold the sentences, in the order in which the model reads them.
      num_labels: number of classes.
      metric: the primary metric, a key of what `Glue.evaluate` returns.
    """

    dataset: str
    texts: tuple[str, ...]
    num_labels: int
    metric: str


GLUE = {
    "sst2": GlueSpec("glue/sst2", texts=("sentence",), num_labels=2, metric="accuracy"),
}


@dataclasses.dataclass(frozen=True)
class Glue:
    """A GLUE task.

    Attributes:
      name: a key of `GLUE`.
      max_length: tokens kept of an input, special tokens included; longer ones are cut.
      data_dir: TFDS folder; None is TFDS's own default.
      download: let TFDS fetch the public dataset when `data_dir` lacks it.
      holdout: training rows held out and evaluated on instead of the development split.
    """

    name: str
    max_length: int = 64
    data_dir: str | None = None
    download: bool = False
    holdout: int = 0

    head: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        base.require_positive(max_length=self.max_length)

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return GLUE[self.name].num_labels

    @property
    def metric(self) -> str:
        """The primary metric."""
        return GLUE[self.name].metric

    def train(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the training split, less the held-out rows."""
        rows = self._read("train")
        kept, _ = base.hold_out(range(len(rows)), self.holdout)
        return self._features([rows[i] for i in kept], tokenizer)

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the development split, or of the held-out rows when `holdout` > 0."""
        if not self.holdout:
            return self._features(self._read("validation"), tokenizer)
        rows = self._read("train")
        _, held = base.hold_out(range(len(rows)), self.holdout)
        return self._features([rows[i] for i in held], tokenizer)

    def loss(self, logits: Float[Array, "batch labels"], batch: dict[str, Any]) -> Float[Array, ""]:
        """Softmax cross-entropy, in fp32 at least."""
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return base.weighted_mean(losses, batch["weight"])

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """Accuracy in percent."""
        predicted = np.array([np.argmax(row) for row in logits])
        gold = np.array(features.examples)
        if predicted.shape != gold.shape:
            raise ValueError(f"{len(predicted)} rows of logits for {len(gold)} examples")
        return {"accuracy": 100 * float(np.mean(predicted == gold))}

    def _read(self, split: str) -> list[dict[str, Any]]:
        dataset = GLUE[self.name].dataset
        return Source(dataset, self.name, self.data_dir, self.download).read(split)

    def _features(
        self, rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
    ) -> base.Features:
        base.require_fast(tokenizer)
        labels = [int(row["label"]) for row in rows]
        for row, label in zip(rows, labels, strict=True):
            if not 0 <= label < self.num_labels:
                raise UserError(
                    f"{GLUE[self.name].dataset} row {row['idx']}: label {label}, expected 0 to "
                    f"{self.num_labels - 1}; "
                    "prepare the dataset again from labelled files"
                )
        texts = ([row[key].decode() for row in rows] for key in GLUE[self.name].texts)
        encoded = tokenizer(
            *texts,
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=False,
        )
        columns = zip(encoded["input_ids"], encoded["token_type_ids"], labels, strict=True)
        return base.Features(
            rows=[
                {
                    "input_ids": np.array(ids, np.int32),
                    "token_type_ids": np.array(types, np.int32),
                    "label": np.array(label, np.int32),
                }
                for ids, types, label in columns
            ],
            examples=labels,
        )
