"""Texts to be written of other texts: what a model reads and learns, and how it is judged."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base, text_metrics
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import TARGET_LENGTH, Column, Growing
from bpjax.tasks.own import PartTask
from bpjax.tasks.table_parts import Part
from bpjax.tasks.tables import LABEL

FEATURES = 1  # of the code that makes them: see `cache.cached`

BATCH = 500  # rows tokenised at a time: sources are long

SOURCE = "source"

METRICS: dict[str, text_metrics.Metrics] = {
    "rougeLsum": text_metrics.rouge,
    "bleu": text_metrics.bleu,
}
"""By the metric that decides: the function that gives it, and others beside it."""

_log = logging.getLogger(__name__)


class References(Sequence[tuple[str, ...]]):
    """Of each row the texts that are right, as Arrow has them.

    Args:
      texts: large lists of texts, one a row.
    """

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return References(self._texts[row])
        return tuple(self._texts[row].as_py())


@dataclasses.dataclass(frozen=True)
class Seq2Seq(PartTask):
    """A text to be written of another. A subclass says where both come from.

    Labels of a row are one or several texts. The first is learnt; what a model writes is compared
    with all of them.

    Attributes:
      max_target_length: tokens of a target that are learnt, special ones included; longer targets
        are cut, but not where a text is compared with them.
      prefix: what stands before each source, such as "summarize: " of T5.
    """

    max_target_length: int = 128
    prefix: str = ""

    head: ClassVar[str] = "seq2seq"
    num_labels: ClassVar[int] = 0
    metric: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        base.require_positive(max_target_length=self.max_target_length)

    @property
    def labels(self) -> tuple[str, ...]:
        """There are no classes."""
        return ()

    def with_labels(self, labels: tuple[str, ...]) -> base.Task:
        """The same task: it has no classes."""
        del labels
        found: Any = self  # a Task as its subclass is
        return found

    def evaluate(self, features: base.Features, texts: Sequence[str]) -> dict[str, float]:
        """Metrics of what a model wrote of each source, in percent."""
        if len(texts) != len(features):
            raise ValueError(f"{len(texts)} texts for {len(features)} examples")
        return METRICS[self.metric](texts, features.examples)

    @contextlib.contextmanager
    def languages(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
        """Tells a tokenizer, for a while, of the languages of sources and targets."""
        del tokenizer
        yield

    def _features(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        columns = self._columns(rows, tokenizer)
        cut = int(columns.pop("cut").values.sum())
        if cut:
            _log.warning(
                "%s: %d of %d targets have more than %d tokens (task.max_target_length): the loss "
                "is that of the first ones",
                rows.table.path,
                cut,
                len(rows),
                self.max_target_length,
            )
        return base.Features(columns, References(rows.label()))

    @cached(FEATURES)
    def _columns(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> dict[str, Column]:
        """What the model reads and learns, and which targets are cut."""
        base.require_fast(tokenizer)
        found = {name: Growing() for name in ("input_ids", LABEL)}
        cut = np.zeros(len(rows), bool)
        with self.languages(tokenizer):
            self._require_room(tokenizer)
            for start in range(0, len(rows), BATCH):
                batch = rows.rows(start, start + BATCH)
                sources = [self.prefix + text for text in batch.column(SOURCE).to_pylist()]
                targets = [texts[0] for texts in batch.column(LABEL).to_pylist()]
                read = _encode(tokenizer, self.max_length, text=sources)
                learnt = _encode(tokenizer, self.max_target_length, text_target=targets)
                found["input_ids"].extend(read["input_ids"])
                found[LABEL].extend(learnt["input_ids"])
                cut[start : start + BATCH] = [bool(x.overflowing) for x in learnt.encodings]
        return {
            "input_ids": found["input_ids"].column(),
            LABEL: found[LABEL].column(base.NO_LABEL, TARGET_LENGTH),
            "cut": Column(cut),
        }

    def _require_room(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises UserError unless a source and a target have a token, and a target its end.

        A tokenizer that puts no token of the end after a target is refused, and not mended here: a
        model that learns no end writes on until its greatest length, and what else the tokenizer
        leaves out nobody knows.
        """
        for option, length, encoded, told in (
            ("max_length", self.max_length, tokenizer(self.prefix), "a source"),
            ("max_target_length", self.max_target_length, tokenizer(text_target=""), "a target"),
        ):
            taken = len(encoded["input_ids"])
            if length < taken + 1:
                prefix = " and its prefix" if self.prefix and option == "max_length" else ""
                raise UserError(
                    f"{option} {length}: expected at least {taken + 1}, for {told} has {taken} "
                    f"special tokens{prefix}; raise it"
                )
        if tokenizer.eos_token_id not in tokenizer(text_target="")["input_ids"]:
            raise UserError(
                f"tokenizer {type(tokenizer).__name__}: no token ends a target "
                f"(eos_token is {tokenizer.eos_token!r}): expected it after each text, or a model "
                "would not learn where to stop; add it to eos_token of tokenizer_config.json and "
                "to the post_processor of tokenizer.json"
            )


def _encode(tokenizer: PreTrainedTokenizerBase, length: int, **texts: list[str]) -> Any:
    return tokenizer(
        **texts,
        truncation=True,
        max_length=length,
        padding=False,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
