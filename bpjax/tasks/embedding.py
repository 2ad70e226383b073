"""Embeddings of the texts of a user's tables, learnt from the dense model: no labels are needed."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base, metrics
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import Column, Growing, Rows
from bpjax.tasks.table_labels import Asked, Labels, read_labels
from bpjax.tasks.table_parts import Part
from bpjax.tasks.table_splits import hash_rows
from bpjax.tasks.tables import LABEL, Table, find_column
from bpjax.tasks.text_table import BATCH, TextTable

FEATURES = 1  # of the code that makes them: see `cache.cached`

SCORES = tuple(
    (name,)
    for name in ("score", "similarity", "similarity_score", "relatedness", "relatedness_score")
) + (("label",),)
"""Usual names of the score of a pair."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Embedding(TextTable):
    """Texts to embed as the dense model does, and pairs of them with scores to evaluate on.

    Of a pair each text is a row of its own, and the two meet in the metric. Rows to evaluate on
    that have no scores are embedded by the dense model, too, and compared with that.

    Attributes:
      prompt: what stands before each text, as the model has it.
      most: tokens that the model keeps of a text; 0: not known.
      dimensions: of the model's embeddings; 0: not known.
    """

    prompt: str = dataclasses.field(default="", metadata=base.NO_OPTION)
    most: int = dataclasses.field(default=0, metadata=base.NO_OPTION)
    dimensions: int = dataclasses.field(default=0, metadata=base.NO_OPTION)

    name: ClassVar[str] = "embedding"
    head: ClassVar[str] = "embedding"

    @property
    def num_labels(self) -> int:
        """The dimensions of an embedding."""
        return self.dimensions

    @property
    def metric(self) -> str:
        """Spearman's ρ of scores and cosines; without scores the cosine to the dense model's."""
        return "cosine_to_dense" if self.relative else "spearman"

    @property
    def relative(self) -> bool:
        """Whether there are no scores: the dense model's embeddings are what is right."""
        _, evaluated = self._divide()
        return not _has_scores(evaluated)

    def as_model(self, prompt: str, max_length: int | None, dimensions: int) -> "Embedding":
        """The same task, whose texts are given to a model as it wants them."""
        return dataclasses.replace(self, prompt=prompt, most=max_length or 0, dimensions=dimensions)

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """One or two columns of texts, and that of the scores of two."""
        chosen = self.find_texts(path, names)
        known = [self.label] if self.label else [name for (name,) in SCORES]
        if len(chosen) == 2 and any(name in names for name in known):
            (chosen[LABEL],) = find_column(path, names, LABEL, self.label, SCORES)
        return self.distinct(path, chosen)

    def check_alike(self, tables: Sequence[Table]) -> None:
        """Tables may have other columns: texts are embedded one by one."""

    def check_overlap(self, train: Table, evaluation: Table) -> None:
        """Tells of texts to evaluate on that are trained on; no score is.

        Raises:
          UserError: there are such texts, and no scores: the dense model's embeddings of them are
            what is learnt.
        """
        known = np.concatenate([hash_rows(train, [role]) for role in train.roles])
        seen = [np.isin(hash_rows(evaluation, [role]), known) for role in evaluation.roles]
        rows = np.all(seen, axis=0)
        if not rows.any():
            return
        told = (
            f"{evaluation.where(int(rows.argmax()))}: what is embedded here is trained on in "
            f"{train.path}, too, as is that of {rows.sum()} of {len(rows)} rows"
        )
        if LABEL not in evaluation.names:
            raise UserError(
                f"{told}: expected texts that were not trained on; remove them, or set "
                "task.allow_overlap to True"
            )
        _log.warning("%s", told)

    def read_labels(self, tables: Sequence[Table]) -> Labels:
        """Scores of pairs, where they are wanted; elsewhere numbers that are none.

        Raises:
          UserError: scores that are no numbers, or all the same; a column that is named and not
            there.
        """
        if self.label and not any(LABEL in table.names for table in tables):
            raise UserError(
                f"{tables[-1].path}: no column {self.label!r} beside two of texts: expected the "
                "scores of pairs; correct task.label, or remove it to evaluate without scores"
            )
        evaluated = tables[0] if self.holdout else tables[-1]
        columns = []
        for table in tables:
            if table is evaluated and LABEL in table.names:
                (scores,) = read_labels([table], Asked("regression")).columns
                _require_different(table, scores)
            else:
                scores = pa.array(np.full(len(table.rows), np.nan, np.float32))
            columns.append(scores)
        return Labels("embedding", (), tuple(columns))

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the texts to evaluate on, of pairs with scores one after the other.

        Raises:
          UserError: all scores are the same.
        """
        _, rows = self._divide()
        if _has_scores(rows):
            _require_different(rows.table, rows.label())
        return self._features(rows, tokenizer)

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """Spearman's and Pearson's correlation of scores and cosines, in percent.

        Raises:
          UserError: there are no scores.
        """
        if self.relative:
            raise UserError(
                f"task {self.name}: the table to evaluate on has no pairs with scores: expected "
                "columns such as sentence1, sentence2 and score; name such a table as task.eval"
            )
        vectors = np.stack(logits)
        gold = np.array([example[LABEL] for example in features.examples])
        found = metrics.correlations(cosines(vectors[0::2], vectors[1::2]), gold[0::2])
        return {"spearman": found["spearman"], "pearson": found["pearson"]}

    def agreement(
        self,
        features: base.Features,
        logits: Sequence[np.ndarray],
        reference: Sequence[np.ndarray],
    ) -> dict[str, float]:
        """The mean cosine of each text's embedding and the dense model's, in percent."""
        del features
        found = cosines(np.stack(logits), np.stack(reference))
        return {"cosine_to_dense": 100 * float(found.mean())}

    def _features(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        columns = self._columns(rows, tokenizer)
        examples = Rows({LABEL: columns.pop(LABEL)})
        return base.Features(columns, examples)

    @cached(FEATURES)
    def _columns(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> dict[str, Column]:
        base.require_fast(tokenizer)
        length = min(self.max_length, self.most or self.max_length)
        base.require_room(length, tokenizer)
        ids, roles = Growing(), rows.table.roles
        for start in range(0, len(rows), BATCH):
            batch = rows.rows(start, start + BATCH)
            columns = [batch.column(role).to_pylist() for role in roles]
            texts = [self.prompt + text for row in zip(*columns, strict=True) for text in row]
            encoded = tokenizer(
                texts,
                truncation=True,
                max_length=length,
                padding=False,
                return_token_type_ids=False,
                return_attention_mask=False,
            )
            ids.extend(encoded["input_ids"])
        scores = rows.label().to_numpy(zero_copy_only=False)
        return {"input_ids": ids.column(), LABEL: Column(np.repeat(scores, len(roles)))}


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the rows of two arrays; 0 where one is of length 0."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    return (left * right).sum(-1) / np.maximum(lengths, 1e-30)


def _has_scores(rows: Part) -> bool:
    return LABEL in rows.table.names and len(rows.table.roles) == 2


def _require_different(table: Table, scores: pa.Array) -> None:
    """Raises UserError where all scores are the same: no correlation is defined."""
    if np.ptp(scores.to_numpy(zero_copy_only=False)) == 0:
        raise UserError(
            f"{table.path}: all scores to evaluate on are {scores[0].as_py():g}: expected "
            f"different ones in {table.names[LABEL]}, for their order is measured; add such pairs"
        )
