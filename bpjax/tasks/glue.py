"""GLUE tasks (Wang et al. 2019): one or two sentences in, one class or score out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base, metrics
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import Column
from bpjax.tasks.glue_files import FILES, HIGHEST_SCORE
from bpjax.tasks.metrics import Metrics
from bpjax.tasks.source import Source

FEATURES = 1  # of the code that makes them: see `cache.cached`

METRICS: dict[str, tuple[str, Metrics]] = {
    "cola": ("matthews", metrics.matthews),
    "sst2": ("accuracy", metrics.accuracy),
    "mrpc": ("f1", metrics.f1_and_accuracy),
    "qqp": ("f1", metrics.f1_and_accuracy),
    "stsb": ("pearson", metrics.correlations),
    "mnli": ("accuracy", metrics.accuracy),
    "qnli": ("accuracy", metrics.accuracy),
    "rte": ("accuracy", metrics.accuracy),
    "wnli": ("accuracy", metrics.accuracy),
}
"""By task: the metric that decides, and the function that gives it."""


class Gold(NamedTuple):
    """What a row's prediction is compared with.

    Attributes:
      label: the class, or the score of STS-B.
      split: the evaluation split that the row is of.
    """

    label: int | float
    split: str


@dataclasses.dataclass(frozen=True)
class Glue:
    """A GLUE task.

    Attributes:
      name: a key of `METRICS`.
      max_length: tokens kept of an input, special tokens included; longer ones are cut.
      data_dir: TFDS folder; None is TFDS's own default.
      download: let TFDS fetch the public dataset when `data_dir` lacks it.
      holdout: training rows held out and evaluated on instead of the development split. Of SST-2
        they are whole sentences, whose phrases are then left out of training too.
      limit: of the training rows, how many are used, always the same ones; 0 is all.
      order: the names of the classes in the order that a model numbers them; () is the dataset's.
    """

    name: str
    max_length: int = 128
    data_dir: str | None = None
    download: bool = False
    holdout: int = 0
    limit: int = 0
    order: tuple[str, ...] = dataclasses.field(default=(), metadata=base.NO_OPTION)

    def __post_init__(self) -> None:
        base.require_positive(max_length=self.max_length)

    @property
    def head(self) -> str:
        """Classification, or regression for STS-B."""
        return "classification" if FILES[self.name].labels else "regression"

    @property
    def num_labels(self) -> int:
        """Number of classes; 1 for a regression."""
        return len(FILES[self.name].labels) or 1

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, as a model numbers them."""
        return self.order or FILES[self.name].labels

    @property
    def metric(self) -> str:
        """The primary metric."""
        return METRICS[self.name][0]

    def with_labels(self, labels: tuple[str, ...]) -> "Glue":
        """The same task with its classes numbered in another order."""
        return dataclasses.replace(self, order=labels)

    def train(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the training split, less the held-out rows and those beyond `limit`."""
        rows = self._read("train")
        kept, _ = self._hold_out(rows)
        return self._features([rows[i] for i in base.take(kept, self.limit)], tokenizer)

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the development splits, or of the held-out rows when `holdout` > 0."""
        if self.holdout:
            rows = self._read("train")
            _, held = self._hold_out(rows)
            return self._features([rows[i] for i in held], tokenizer)
        splits = [name for name in FILES[self.name].evaluation if name.startswith("validation")]
        return self._features([row for name in splits for row in self._read(name)], tokenizer)

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """The task's official metrics in percent (Wang et al. 2019, table 1).

        Of MNLI, accuracy is that on the matched split and `accuracy_mismatched` the other's.
        """
        if len(logits) != len(features.examples):
            raise ValueError(f"{len(logits)} rows of logits for {len(features.examples)} examples")
        classes = FILES[self.name].labels
        number = [classes.index(name) for name in self.labels]  # the dataset's, of a model's
        predicted = np.array([number[np.argmax(row)] if classes else row[0] for row in logits])
        gold = np.array([example.label for example in features.examples])
        splits = [example.split for example in features.examples]
        _, score = METRICS[self.name]
        found: dict[str, float] = {}
        for split in dict.fromkeys(splits):
            rows = np.array([name == split for name in splits])
            suffix = "_mismatched" if split.endswith("mismatched") else ""
            for name, value in score(predicted[rows], gold[rows]).items():
                found[name + suffix] = value
        return found

    def _hold_out(self, rows: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
        if not (self.holdout and FILES[self.name].phrases):
            return base.hold_out(range(len(rows)), self.holdout)
        owners = base.find_phrases([row["sentence"].decode() for row in rows])
        return base.hold_out(owners, self.holdout, [i == owner for i, owner in enumerate(owners)])

    def _read(self, split: str) -> list[dict[str, Any]]:
        dataset = f"glue/{self.name}"
        rows = Source(dataset, self.name, self.data_dir, self.download).read(split)
        classes = FILES[self.name].labels
        highest = len(classes) - 1 if classes else HIGHEST_SCORE
        for row in rows:
            row["split"] = split
            label = row["label"]
            if not 0 <= label <= highest:  # nor is it that of nan
                raise UserError(
                    f"{dataset} row {row['idx']}: label {label}, expected 0 to {highest}; prepare "
                    "the dataset again from labelled files"
                )
        return rows

    def _features(
        self, rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
    ) -> base.Features:
        number = int if FILES[self.name].labels else float
        examples = [Gold(number(row["label"]), row["split"]) for row in rows]
        return base.Features(self._columns(rows, tokenizer), examples)

    @cached(FEATURES)
    def _columns(
        self, rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Column]:
        base.require_fast(tokenizer)
        classes = FILES[self.name].labels
        labels = [row["label"] for row in rows]
        if classes:
            labels = [self.labels.index(classes[label]) for label in labels]
        texts = ([row[key].decode() for row in rows] for key in FILES[self.name].texts)
        encoded = tokenizer(
            *texts,
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=False,
        )
        return {
            "input_ids": Column.ragged(encoded["input_ids"]),
            "token_type_ids": Column.ragged(encoded["token_type_ids"]),
            "label": Column(np.array(labels, np.int32 if classes else np.float32)),
        }
