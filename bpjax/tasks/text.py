"""One or two texts a row of a user's table: classes, any number of classes, or a score."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from bpjax.tasks import base, metrics
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import Column, Growing, Rows
from bpjax.tasks.own import require_one_of
from bpjax.tasks.table_labels import KINDS, Asked, Labels, read_labels, read_names
from bpjax.tasks.table_parts import Part
from bpjax.tasks.tables import LABEL, Table, find_column
from bpjax.tasks.text_table import BATCH, TextTable

FEATURES = 1  # of the code that makes them: see `cache.cached`

LABELS = tuple(
    (name,)
    for name in (
        *("label", "labels", "category", "class", "score", "target", "intent", "sentiment"),
        *("topic", "emotion", "rating", "stars"),
    )
)
"""Usual names of the label."""

METRICS = {
    "classification": ("accuracy", metrics.accuracy_and_f1),
    "multi_label": ("micro_f1", metrics.multi_label),
    "regression": ("spearman", metrics.scores),
}
"""By kind of label: the metric that decides, and the function that gives it."""


@dataclasses.dataclass(frozen=True)
class Text(TextTable):
    """A class, several labels or a score for each row of a table of texts.

    Attributes:
      kind: classification (one label a row), multi_label (any number) or regression (a score);
        auto: as the labels tell, if they do.
      separator: what stands between the labels of a row; empty: a row has one.
    """

    kind: str = "auto"
    separator: str = ""

    name: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("kind", self.kind, KINDS)

    @property
    def head(self) -> str:
        """As the labels are: classification, multi_label or regression."""
        return self.read.kind

    @property
    def metric(self) -> str:
        """Accuracy of classes, micro-averaged F1 of several labels, Spearman's ρ of scores."""
        return METRICS[self.head][0]

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """One or two columns of texts, and that of labels."""
        chosen = self.find_texts(path, names)
        (chosen[LABEL],) = find_column(path, names, LABEL, self.label, LABELS)
        return self.distinct(path, chosen)

    def read_labels(self, tables: Sequence[Table]) -> Labels:
        """Classes, lists of classes, or scores."""
        return read_labels(tables, Asked(self.kind, self.separator, read_names(self.label_names)))

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """Of classes accuracy and F1, macro- and micro-averaged; of scores correlations and error.

        In percent, but for `squared_error`, the mean, which is in squares of the label's unit.
        """
        predicted, gold = self._answers(features, logits)
        return METRICS[self.head][1](predicted, gold)

    def by_class(
        self, features: base.Features, logits: Sequence[np.ndarray]
    ) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 of each class in percent, and how many rows have it."""
        if self.head == "regression":
            return {}
        return metrics.by_class(*self._answers(features, logits), self.labels)

    def _answers(
        self, features: base.Features, logits: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What was predicted, and what is right."""
        if len(logits) != len(features):
            raise ValueError(f"{len(logits)} rows of logits for {len(features)} examples")
        gold = np.array([example[LABEL] for example in features.examples])
        found = np.stack(logits)
        if self.head == "multi_label":
            return (found > 0).astype(np.int32), gold.astype(np.int32)
        return (found[:, 0] if self.head == "regression" else found.argmax(-1)), gold

    def _features(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        columns = self._columns(rows, tokenizer)
        return base.Features(columns, Rows({LABEL: columns[LABEL]}))

    @cached(FEATURES)
    def _columns(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> dict[str, Column]:
        base.require_fast(tokenizer)
        base.require_room(self.max_length, tokenizer, pair="text_pair" in rows.table.names)
        roles = rows.table.roles
        names = ("input_ids", "token_type_ids")[: len(roles)]  # of one text all are of type 0
        found = {name: Growing() for name in names}
        for start in range(0, len(rows), BATCH):
            batch = rows.rows(start, start + BATCH)
            encoded = tokenizer(
                *(batch.column(role).to_pylist() for role in roles),
                truncation=True,
                max_length=self.max_length,
                padding=False,
                return_token_type_ids=len(roles) > 1,
                return_attention_mask=False,
            )
            for name, column in found.items():
                column.extend(encoded[name])
        made = {name: column.column() for name, column in found.items()}
        return made | {LABEL: Column(self._label(rows.label()))}

    def _label(self, labels: pa.Array) -> np.ndarray:
        """What the head learns, by row."""
        if self.head == "regression":
            return labels.to_numpy(zero_copy_only=False)
        numbers = self._numbers()
        if self.head == "classification":
            return numbers[labels.to_numpy(zero_copy_only=False)]
        found = np.zeros((len(labels), self.num_labels), np.float32)
        places = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
        found[places, numbers[labels.flatten().to_numpy(zero_copy_only=False)]] = 1
        return found
