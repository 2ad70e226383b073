"""A saved model with its tokenizer: texts in, answers out."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bpjax import models
from bpjax.errors import UserError
from bpjax.generation import decode, write
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.generation_files import override
from bpjax.models.heads import HEADS
from bpjax.models.inputs import INPUT_IDS, TOKEN_TYPES
from bpjax.models.tokenizer import check_vocabulary, load_tokenizer
from bpjax.prediction import answers
from bpjax.prediction.answers import Answer
from bpjax.tasks import spans
from bpjax.tasks.base import Features
from bpjax.tasks.columns import Column
from bpjax.tasks.squad import SpanTask
from bpjax.training import evaluation
from bpjax.training.evaluation import Batch
from bpjax.training.input import Batching, eval_batches

AT_ONCE = 512
"""Rows that are tokenised, and answered, at a time: too few for `tasks.cache` to keep them."""

BUCKETS = (16, 32, 64, 128, 256, 512)
"""Lengths that rows are padded to: a program is compiled for each that occurs."""


@dataclasses.dataclass(frozen=True)
class Questions(SpanTask):
    """Questions and passages whose answers nobody knows.

    Attributes:
      rows: a question and its passage each.
    """

    rows: tuple[tuple[str, str], ...] = ()

    name: ClassVar[str] = "questions"

    def examples(self, split: str) -> list[spans.Example]:
        """All of them."""
        del split
        return [
            spans.Example(str(number), passage, question, (), ())
            for number, (question, passage) in enumerate(self.rows)
        ]


Row = str | tuple[str, str]
"""A text, or two; of a model that answers questions the question and the passage."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that was loaded: its config, its parameters, and where its tokenizer lies.

    It unpacks as `config, params = model`.

    Attributes:
      config: sizes, head and names of labels.
      params: the tree of parameters, kernels `[in, out]`.
      source: that it was loaded from, or made of; None of one without a tokenizer.
    """

    config: Any
    params: dict[str, Any]
    source: str | Path | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.config, self.params))

    @functools.cached_property
    def tokenizer(self) -> Any:
        """Of the same source.

        Raises:
          UserError: none there, or one of another vocabulary.
        """
        if self.source is None:
            raise UserError(
                "the model has no source: expected a folder, package or hub name with its "
                "tokenizer; save it with a tokenizer and load it"
            )
        found = load_tokenizer(self.source)
        check_vocabulary(found, self.config)
        return found

    def predict(
        self,
        texts: Sequence[Any],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> list[Answer]:
        """What the model says of each text.

        Args:
          texts: texts, or pairs of texts; of a model that answers questions, pairs of a question
            and a passage.
          batch_size: rows computed at a time.
          max_length: tokens kept of a text, special ones included; by default all that the model
            has positions for, of an embedding its `max_seq_length`. Of a text that was cut the
            answer has `"cut": true`; a passage is read whole, in windows.
          generation: of a model that writes texts, settings that are to be other than it was saved
            with, by their names in a generation_config.json: `{"num_beams": 4}`.

        Returns:
          One dict a text, see `answers`: `label`, `score` and `scores` of classes; `labels` and
          `scores` where a text may have several; `score` of a regression; `words`, and `entities`
          of IOB tags, of a model of tokens; `answer` and `no_answer` of questions, where the latter
          is by how much the logits of no answer are above those of the answer; `embedding`, a list
          of numbers, of a model of sentence-transformers, whose default prompt precedes each text;
          `text` of a model that writes.

        Raises:
          UserError: a text that is blank or no text, a pair where one text is expected or the other
            way round, a model without a head, or settings of generation that cannot be followed.
        """
        return [
            *self.answer(texts, batch_size=batch_size, max_length=max_length, generation=generation)
        ]

    def answer(
        self,
        texts: Sequence[Any],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> Iterator[Answer]:
        """The answers of `predict`, one after the other; all texts are checked first."""
        check(texts, self.config)
        limit, tokenizer = self._limit(max_length), self.tokenizer
        model = self._writing(generation) if generation else self
        ways: dict[str, Callable[..., Iterator[Answer]]]
        ways = {"span": _answer_questions, "tokens": _answer_words, "embedding": _embed}
        ways |= {head.name: _write_texts for head in HEADS.values() if head.generates}
        way = ways.get(self.config.head, _answer_rows)

        def answered() -> Iterator[Answer]:
            for start in range(0, len(texts), AT_ONCE):
                rows = texts[start : start + AT_ONCE]
                yield from way(model, tokenizer, rows, limit, batch_size)

        return answered()

    def features(self, texts: Sequence[Any], max_length: int | None = None) -> Features:
        """The texts as the model reads them; long passages in windows.

        Args:
          texts: as for `predict`.
          max_length: as for `predict`.

        Raises:
          UserError: as `predict`, or no text.
        """
        check(texts, self.config)
        if not len(texts):
            raise UserError("no texts: expected at least one; give some")
        limit, tokenizer = self._limit(max_length), self.tokenizer
        if self.config.head == "span":
            return _questions(texts, limit).evaluation(tokenizer)
        if self.config.head == "embedding":
            texts = _prompted(self, texts)
        return _features(_encode(tokenizer, texts, limit), texts)

    def _limit(self, max_length: int | None) -> int:
        most = self.config.max_positions
        limit = self._usual_length if max_length is None else max_length
        if max_length is not None and not 8 <= limit <= most:
            raise UserError(
                f"max_length {limit}: expected 8 to {most}, the positions of {self.source}; change "
                "it"
            )
        return limit

    @property
    def _usual_length(self) -> int:
        """Tokens kept of a text unless it is said how many."""
        positions = int(self.config.max_positions)
        if self.config.head != "embedding":
            return positions
        return models.architecture(self.config).embedding(self.config).max_length or positions

    def _writing(self, changes: Mapping[str, Any]) -> "Model":
        """The same model, which writes with other settings."""
        if not HEADS[self.config.head].generates:
            raise UserError(
                f"generation {dict(changes)}: expected none, for the model writes no texts; remove "
                "it"
            )
        config = self.config.replace(generation=override(self.config.generation, changes))
        config.generation.require_vocabulary(config.vocab_size)
        return dataclasses.replace(self, config=config)

    def batches(self, features: Features, batch_size: int) -> Iterator[Batch]:
        """All rows, padded to some lengths alone."""
        most = self.config.max_positions
        buckets = (*(x for x in BUCKETS if x < most), most)
        return eval_batches(features, Batching(batch_size, buckets))

    def logits(self, features: Features, batch_size: int) -> list[np.ndarray]:
        """Of every row, see `evaluation.predict`."""
        batches = self.batches(features, batch_size)
        return evaluation.predict(self.config, self.params, batches, None)


def load_model(source: str | Path, **options: Any) -> Model:
    """Loads a model with the head that was saved, see `models.checkpoint.load_pretrained`.

    Args:
      source: a folder, an installed package or a hub name.
      **options: of `load_pretrained`.

    Raises:
      UserError: as `load_pretrained`.
    """
    return Model(*load_pretrained(source, **options), source)


def check(texts: Sequence[Any], config: Any) -> None:
    """Refuses texts that the model cannot answer.

    Raises:
      UserError: as `Model.predict`.
    """
    if config.head == "none":
        raise UserError(
            "the model has no head: expected one that answers, such as a classifier; fine-tune it "
            "first"
        )
    if isinstance(texts, str):
        raise UserError(
            f"texts is one text, {repr(texts)[:80]}: expected a list of them; write [text]"
        )
    alone = {"tokens", "embedding", *(each.name for each in HEADS.values() if each.generates)}
    for number, row in enumerate(texts):
        both = (row,) if isinstance(row, str) else row
        pair = isinstance(both, tuple) and len(both) == 2
        wanted = pair if config.head == "span" else isinstance(row, str) or pair
        if config.head in alone:
            wanted = isinstance(row, str)
        if not wanted or not all(isinstance(text, str) for text in both):
            expected = {"span": "a question and a passage"}
            expected |= dict.fromkeys(alone, "one text")
            raise UserError(
                f"row {number} is {repr(row)[:80]}: expected "
                f"{expected.get(config.head, 'a text or two')}; give it so"
            )
        if not all(text.strip() for text in both[:1] if config.head != "span"):
            raise UserError(f"row {number} is blank: expected a text; remove it")
        for text in both:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UserError(
                    f"row {number} has {text[error.start]!r} at character {error.start}, half of a "
                    "surrogate pair: expected whole characters; put \\ufffd in its place"
                ) from error


def _encode(tokenizer: Any, rows: Sequence[Row], limit: int, **options: Any) -> Any:
    pairs = [row if isinstance(row, tuple) else (row, None) for row in rows]
    firsts, seconds = zip(*pairs, strict=True)
    if any(second is not None for second in seconds) and None in seconds:
        raise UserError("texts and pairs of texts: expected the same of every row; sort them out")
    return tokenizer(
        list(firsts),
        None if seconds[0] is None else list(seconds),
        truncation=True,
        max_length=limit,
        padding=False,
        return_token_type_ids=True,
        return_attention_mask=False,
        **options,
    )


def _features(encoded: Any, rows: Sequence[Any]) -> Features:
    names = (INPUT_IDS, TOKEN_TYPES)
    return Features({name: Column.ragged(encoded[name]) for name in names}, rows)


def _was_cut(encoded: Any, number: int) -> Answer:
    return {"cut": True} if encoded.encodings[number].overflowing else {}


def _answer_rows(
    model: Model, tokenizer: Any, rows: Sequence[Row], limit: int, batch_size: int
) -> Iterator[Answer]:
    """Of a head by row: one answer a text."""
    encoded = _encode(tokenizer, rows, limit)
    labels = answers.names_of(model.config.labels, model.config.num_labels)
    answer = answers.ROWS[model.config.head]
    for number, logits in enumerate(model.logits(_features(encoded, rows), batch_size)):
        yield answer(logits, labels) | _was_cut(encoded, number)


def _embed(
    model: Model, tokenizer: Any, rows: Sequence[str], limit: int, batch_size: int
) -> Iterator[Answer]:
    """The embedding of each text."""
    return _answer_rows(model, tokenizer, _prompted(model, rows), limit, batch_size)


def _write_texts(
    model: Model, tokenizer: Any, rows: Sequence[str], limit: int, batch_size: int
) -> Iterator[Answer]:
    """What the model writes, having read each text."""
    encoded = _encode(tokenizer, rows, limit)
    batches = model.batches(_features(encoded, rows), batch_size)
    written = write(model.config, model.params, batches)
    for number, text in enumerate(decode(tokenizer, written)):
        yield answers.text(text) | _was_cut(encoded, number)


def _prompted(model: Model, rows: Sequence[str]) -> list[str]:
    """Each text behind the default prompt of a model of embeddings."""
    prompt = models.architecture(model.config).embedding(model.config).prompt
    return [prompt + row for row in rows]


def _answer_words(
    model: Model, tokenizer: Any, rows: Sequence[str], limit: int, batch_size: int
) -> Iterator[Answer]:
    """Of a head by token: each word's is that of its first token."""
    encoded = _encode(tokenizer, rows, limit, return_offsets_mapping=True)
    labels = answers.names_of(model.config.labels, model.config.num_labels)
    for number, logits in enumerate(model.logits(_features(encoded, rows), batch_size)):
        first: dict[int, int] = {}
        ends: dict[int, int] = {}
        offsets = encoded["offset_mapping"][number]
        for place, word in enumerate(encoded.word_ids(number)):
            if word is not None:
                first.setdefault(word, place)
                ends[word] = offsets[place][1]
        spans_of = [(offsets[place][0], ends[word]) for word, place in first.items()]
        chosen = logits[[*first.values()]]
        yield answers.words(chosen, labels, spans_of, rows[number]) | _was_cut(encoded, number)


def _questions(rows: Sequence[tuple[str, str]], limit: int) -> Questions:
    # Each a quarter, so that a window has as much room for what is new.
    question, stride = min(64, limit // 4), min(128, limit // 4)
    return Questions(
        max_length=limit, max_question_length=question, stride=stride, rows=tuple(rows)
    )


def _answer_questions(
    model: Model, tokenizer: Any, rows: Sequence[tuple[str, str]], limit: int, batch_size: int
) -> Iterator[Answer]:
    """Of a span head: the best part of the passage, over its windows."""
    task = _questions(rows, limit)
    features = task.evaluation(tokenizer)
    logits = model.logits(features, batch_size)
    found = spans.decode(features.examples, logits, task.n_best, task.max_answer_length)
    for number in range(len(rows)):
        text, odds = found[str(number)]
        yield {"answer": text, "no_answer": odds if np.isfinite(odds) else None}
