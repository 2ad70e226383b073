"""Extractive question answering: SQuAD v1.1 and v2.0, and what every span task shares."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base, spans
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import Column
from bpjax.tasks.official import locate, name_question
from bpjax.tasks.source import Source

FEATURES = 2  # of the code that makes them: see `cache.cached`


@dataclasses.dataclass(frozen=True)
class SpanTask:
    """Questions whose answer is a span of a passage. A subclass says where the examples come from.

    Attributes:
      max_length: tokens of an input: question, window of the passage and special tokens.
      stride: tokens that neighbouring windows of a longer passage share.
      max_question_length: tokens kept of a question.
      n_best: starts and ends considered of each window when decoding.
      max_answer_length: longest answer decoded, in tokens.
      holdout: training questions held out, by whole passages, and evaluated on instead of the
        development split.
      limit: of the training questions, how many are used, always the same ones; 0 is all.
    """

    max_length: int = 384
    stride: int = 128
    max_question_length: int = 64
    n_best: int = 20
    max_answer_length: int = 30
    holdout: int = 0
    limit: int = 0

    name: ClassVar[str]
    head: ClassVar[str] = "span"
    num_labels: ClassVar[int] = 2
    metric: ClassVar[str] = "f1"

    def __post_init__(self) -> None:
        base.require_positive(
            max_length=self.max_length,
            stride=self.stride,
            max_question_length=self.max_question_length,
            n_best=self.n_best,
            max_answer_length=self.max_answer_length,
        )
        self._require_room(3)  # [CLS] and two [SEP]; the tokenizer may tell of more

    def _require_room(self, special: int) -> None:
        """Raises UserError unless a window has room for `special` tokens and one new one."""
        added = special + 1
        least = self.max_question_length + self.stride + added
        if self.max_length < least:
            raise UserError(
                f"max_length {self.max_length}: expected at least {least} (max_question_length "
                f"{self.max_question_length} + stride {self.stride} + {added}); raise it or lower "
                "the other two"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """There are no classes."""
        return ()

    def with_labels(self, labels: tuple[str, ...]) -> base.Task:
        """The same task: it has no classes."""
        del labels
        return self

    def examples(self, split: str) -> list[spans.Example]:
        """The examples of "train" or "validation"."""
        raise AssertionError("a span task says where its examples come from")

    def train(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the training split, less the held-out rows and those beyond `limit`."""
        examples = self.examples("train")
        kept, _ = base.hold_out([example.context for example in examples], self.holdout)
        return self._features([examples[i] for i in base.take(kept, self.limit)], tokenizer)

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the development split, or of the held-out rows when `holdout` > 0."""
        if not self.holdout:
            return self._features(self.examples("validation"), tokenizer)
        examples = self.examples("train")
        _, held = base.hold_out([example.context for example in examples], self.holdout)
        return self._features([examples[i] for i in held], tokenizer)

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """F1 and exact match of the official evaluation, in percent."""
        answers = spans.decode(features.examples, logits, self.n_best, self.max_answer_length)
        texts = {identity: answer.text for identity, answer in answers.items()}
        return spans.score(texts, distinct(features.examples))

    def _features(
        self, examples: list[spans.Example], tokenizer: PreTrainedTokenizerBase
    ) -> base.Features:
        columns = self._columns(examples, tokenizer)
        owners, firsts, offsets = (columns.pop(name) for name in ("owner", "first", "offsets"))
        windows = [
            spans.Window(examples[owners.values[i]], int(firsts.values[i]), offsets[i])
            for i in range(offsets.rows)
        ]
        return base.Features(columns, windows)

    @cached(FEATURES)
    def _columns(
        self, examples: list[spans.Example], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Column]:
        """What the model reads of each window, and where the window comes from.

        Raises:
          UserError: the tokenizer leaves nothing of an answer.
        """
        base.require_fast(tokenizer)
        self._require_room(tokenizer.num_special_tokens_to_add(pair=True))
        encoded = tokenizer(
            cut_questions([e.question for e in examples], tokenizer, self.max_question_length),
            [e.context for e in examples],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=False,
        )
        owners = encoded["overflow_to_sample_mapping"]
        windows: list[spans.Window] = []
        for number, owner in enumerate(owners):
            sequences = encoded.sequence_ids(number)  # 0 question, 1 passage, None special
            count = sequences.count(1)  # none of a passage that the tokenizer leaves nothing of
            first = sequences.index(1) if count else len(sequences)
            places = np.array(encoded["offset_mapping"][number][first : first + count], np.int32)
            windows.append(spans.Window(examples[owner], first, places.reshape(-1, 2)))
        answers = [
            tokens
            for _, group in itertools.groupby(zip(owners, windows, strict=True), lambda x: x[0])
            for tokens in _answer_tokens([window for _, window in group])
        ]
        starts, ends = np.array(answers, np.int32).reshape(-1, 2).T.copy()
        return {
            "input_ids": Column.ragged(encoded["input_ids"]),
            "token_type_ids": Column.ragged(encoded["token_type_ids"]),
            "start_position": Column(starts),
            "end_position": Column(ends),
            "owner": Column(np.array(owners, np.int32)),
            "first": Column(np.array([w.first for w in windows], np.int32)),
            "offsets": Column.joined([w.offsets for w in windows], np.zeros((0, 2), np.int32)),
        }


@dataclasses.dataclass(frozen=True)
class Squad(SpanTask):
    """SQuAD v1.1, Rajpurkar et al. 2016.

    Attributes:
      data_dir: TFDS folder; None is TFDS's own default.
      download: let TFDS fetch the public dataset when `data_dir` lacks it.
    """

    data_dir: str | None = None
    download: bool = False

    name: ClassVar[str] = "squad"
    dataset: ClassVar[str] = "squad/v1.1"
    with_null: ClassVar[bool] = False

    def examples(self, split: str) -> list[spans.Example]:
        """The questions of a TFDS split."""
        rows = Source(self.dataset, self.name, self.data_dir, self.download).read(split)
        return [self._example(row) for row in rows]

    def _example(self, row: dict[str, Any]) -> spans.Example:
        """An example of a TFDS row; misplaced answers are moved to their text."""
        identity, context = row["id"].decode(), row["context"].decode()
        answers = tuple(text.decode() for text in row["answers"]["text"])
        where = f"{self.dataset} {name_question(identity)}"
        if not (answers or self.with_null):
            raise UserError(
                f"{where}: no answers, expected one or more; prepare the dataset from SQuAD v1.1 "
                "files"
            )
        starts = tuple(
            locate(text, int(start), context, where)
            for text, start in zip(answers, row["answers"]["answer_start"], strict=True)
        )
        return spans.Example(identity, context, row["question"].decode(), answers, starts)


@dataclasses.dataclass(frozen=True)
class SquadV2(Squad):
    """SQuAD v2.0, Rajpurkar et al. 2018: half of the questions have no answer in their passage.

    A window without the answer is taught to point to [CLS], which is how a model says so.

    Attributes:
      null_threshold: how much larger the logits of no answer must be than the best span's; the
        metrics tell the best value too.
    """

    null_threshold: float | int = 0.0

    name: ClassVar[str] = "squad_v2"
    dataset: ClassVar[str] = "squad/v2.0"
    with_null: ClassVar[bool] = True

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """The official metrics, see `spans.score_with_null`."""
        answers = spans.decode(features.examples, logits, self.n_best, self.max_answer_length)
        return spans.score_with_null(answers, distinct(features.examples), self.null_threshold)


def distinct(windows: Sequence[spans.Window]) -> list[spans.Example]:
    """The examples of some windows, each once."""
    return list({window.example.id: window.example for window in windows}.values())


def cut_questions(
    questions: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> list[str]:
    """Cuts each question after `max_tokens` tokens, so that a window has room for the passage.

    A character of several tokens is left out where not all of them fit.
    """
    encoded = tokenizer(
        questions,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    return [
        question
        if len(offsets) <= max_tokens
        else question[: min(offsets[max_tokens - 1][1], offsets[max_tokens][0])]
        for question, offsets in zip(questions, encoded["offset_mapping"], strict=True)
    ]


def _answer_tokens(windows: Sequence[spans.Window]) -> list[tuple[int, int]]:
    """First and last token of an example's first answer, in each of its windows.

    Blanks at the answer's edges are not taught. (0, 0), the [CLS] token, in a window that lacks
    some of the answer's tokens, and where there is no answer.

    Raises:
      UserError: the answer has no tokens.
    """
    example = windows[0].example
    if not example.answers:
        return [(0, 0)] * len(windows)
    begin, end = (example.starts[0] + edge for edge in spans.visible_part(example.answers[0]))
    found = []
    for window in windows:
        # Tokens that are bytes of one character share its span.
        first = int(np.searchsorted(window.offsets[:, 1], begin, side="right"))
        stop = int(np.searchsorted(window.offsets[:, 0], end, side="left"))
        found.append((window.first + first, window.offsets[first:stop]))
    tokens = [places for _, places in found if len(places)]
    if not tokens:
        raise UserError(
            f"{name_question(example.id)}: answer {example.answers[0][:80]!r} has no tokens, for "
            "the tokenizer removes all of it; expected one or more, mend the answer or remove the "
            "question"
        )
    whole = min(places[0, 0] for places in tokens), max(places[-1, 1] for places in tokens)
    return [
        (first, first + len(places) - 1)
        if len(places) and (places[0, 0], places[-1, 1]) == whole
        else (0, 0)
        for first, places in found
    ]
