"""What a task is: features for the model, the head that they ask for, and a metric.

A task knows its data and nothing of models or pruning, so that one task serves teacher, masked
student and shrunken model.
"""

import dataclasses
import functools
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks.columns import LENGTH, Column, Rows, columns_of

# The rows held out are the same whatever the seed of a run.
HOLDOUT_SEED = 0

NO_LABEL = -100
"""The label of a token that has none, as `models.heads` has it: it costs nothing."""


@dataclasses.dataclass(frozen=True)
class Features:
    """Rows of one split, ready for a model.

    Attributes:
      columns: what the model reads and what its head learns, by their names in a batch. Of text
        they are `input_ids` and `token_type_ids`, int32 and ragged, and labels, one a row or one a
        token.
      examples: one entry a row, whatever the task's metric needs.
    """

    columns: Mapping[str, Column]
    examples: Sequence[Any]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column.rows != len(self.examples):
                raise ValueError(f"{column.rows} rows of {name} but {len(self.examples)} examples")

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, np.ndarray]],
        examples: Sequence[Any],
        fills: Mapping[str, int] = MappingProxyType({}),
    ) -> "Features":
        """Features of rows given one by one, see `columns_of`."""
        return cls(columns_of(rows, fills), examples)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def rows(self) -> Rows:
        """The columns, seen a row at a time."""
        return Rows(self.columns)

    @functools.cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Of each row: the tokens that are read, special ones included; 1 where there are none."""
        return self.by_axis.get(LENGTH, np.ones(len(self), np.int32))

    @functools.cached_property
    def by_axis(self) -> dict[str, Int[np.ndarray, " rows"]]:
        """Of each row the length by axis of ragged columns.

        More exactly, of the longest of a row's arrays of that axis: all are padded to one length.
        """
        found: dict[str, Any] = {}
        for column in self.columns.values():
            if column.starts is not None:
                before = found.get(column.axis, np.ones(len(self), np.int32))
                found[column.axis] = np.maximum(before, column.lengths)
        return found

    def take(self, rows: Sequence[int]) -> "Features":
        """Some of the rows, in the order given."""
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return Features(columns, [self.examples[row] for row in rows])


@runtime_checkable
class Task(Protocol):
    """Data, head and metric of one task."""

    @property
    def name(self) -> str:
        """The name in the registry."""

    @property
    def head(self) -> str:
        """The model's head, a key of `models.heads.HEADS`, which gives the loss."""

    @property
    def num_labels(self) -> int:
        """Outputs of that head."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes by number; () where there are none."""

    @property
    def metric(self) -> str:
        """The key of `evaluate` that decides; a percentage, higher is better."""

    def with_labels(self, labels: tuple[str, ...]) -> "Task":
        """The same task, whose classes, `labels` in another order, are numbered in that order."""

    def train(self, tokenizer: PreTrainedTokenizerBase) -> Features:
        """Features of the training split (less the held-out rows)."""

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> Features:
        """Features of the development split, or of the held-out rows when `holdout` > 0."""

    def evaluate(self, features: Features, logits: Sequence[Any]) -> dict[str, float]:
        """Metrics, in percent unless their names end in `_threshold` or `_error`.

        `logits[i]` belongs to `features.rows[i]`. Of a head that generates they are no logits but
        the texts that the model wrote.
        """


@runtime_checkable
class HasClasses(Protocol):
    """A task that also tells its classes apart in the report."""

    def by_class(
        self, features: Features, logits: Sequence[np.ndarray]
    ) -> dict[str, dict[str, float]]:
        """Of each class `precision`, `recall` and `f1` in percent, and `support`, how many."""


def by_class(task: Task, features: Features, logits: Sequence[Any]) -> dict[str, dict[str, float]]:
    """A task's metrics of each class; {} where it has none to tell."""
    return task.by_class(features, logits) if isinstance(task, HasClasses) else {}


@runtime_checkable
class Embeds(Protocol):
    """A task whose texts are given to a model of embeddings in the model's own way."""

    def as_model(self, prompt: str, max_length: int | None, dimensions: int) -> Any:
        """The same task for such a model.

        Args:
          prompt: that stands before each text.
          max_length: tokens that it keeps of a text; None: as many as it has positions for.
          dimensions: of its embeddings.
        """

    @property
    def prompt(self) -> str:
        """What stands before each text."""

    @property
    def relative(self) -> bool:
        """Whether the dense model's outputs are what is right, for the data do not say."""

    def agreement(
        self,
        features: Features,
        logits: Sequence[np.ndarray],
        reference: Sequence[np.ndarray],
    ) -> dict[str, float]:
        """Metrics of outputs against the dense model's of the same rows, in percent."""


NO_OPTION = MappingProxyType({"option": False})
"""Metadata of a task's field that is no option of it: it is found, and not chosen."""


def hold_out(
    groups: Sequence[Hashable], holdout: int, wanted: Sequence[bool] | None = None
) -> tuple[list[int], list[int]]:
    """Takes the last `holdout` rows of a seeded permutation out of the training rows.

    Rows of one group (questions about one passage) are kept on one side: the permutation orders the
    groups, and the other rows of a group that one was taken of are used on neither side.

    Args:
      groups: the group of each training row; all different when rows are independent.
      holdout: number of rows to hold out; 0 holds out nothing.
      wanted: which rows may be held out; all where it is None.

    Returns:
      Indices of the rows to train on and of the rows held out, each in its original order.

    Raises:
      UserError: `holdout` is negative or leaves nothing to train on.
    """
    if holdout == 0:
        return list(range(len(groups))), []
    able = [row for row in range(len(groups)) if wanted is None or wanted[row]]
    if not 0 <= holdout < len(able):
        raise UserError(
            f"holdout {holdout}: expected 0 to {len(able) - 1} of the {len(able)} training "
            "rows; choose a number in that range"
        )
    names = list(dict.fromkeys(groups))
    places = np.random.default_rng(HOLDOUT_SEED).permutation(len(names))
    rank = dict(zip(names, places.tolist(), strict=True))
    held = sorted(sorted(able, key=lambda row: rank[groups[row]])[-holdout:])
    held_groups = {groups[row] for row in held}
    kept = [row for row in range(len(groups)) if groups[row] not in held_groups]
    if not kept:
        raise UserError(f"holdout {holdout}: nothing is left to train on; hold out fewer rows")
    return kept, held


def find_phrases(texts: Sequence[str]) -> list[int]:
    """For each text the place of the longest one that it is a part of, by whole words.

    Its own, where there is no longer one.
    """
    words = [tuple(text.split()) for text in texts]
    owner: dict[tuple[str, ...], int] = {}
    for place in sorted(range(len(texts)), key=lambda i: -len(words[i])):
        sentence = words[place]
        if sentence in owner:
            continue
        for start in range(len(sentence) + 1):
            for stop in range(start, len(sentence) + 1):
                owner.setdefault(sentence[start:stop], place)
    return [owner[sentence] for sentence in words]


def take(rows: Sequence[int], limit: int) -> list[int]:
    """A fixed choice of `limit` of the rows, in their order; all of them where it is 0.

    Raises:
      UserError: `limit` is negative or more than there are.
    """
    if not 0 <= limit <= len(rows):
        raise UserError(
            f"limit {limit}: expected 0 (all) to {len(rows)}, the training rows there are; choose "
            "a number in that range"
        )
    if limit == 0:
        return list(rows)
    order = np.random.default_rng(HOLDOUT_SEED).permutation(len(rows))
    return [rows[place] for place in sorted(order[:limit])]


def require_positive(**options: int) -> None:
    """Raises UserError unless every option is an integer of at least 1."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} {value!r}: expected an integer of at least 1; change {name}")


def require_room(
    max_length: int, tokenizer: PreTrainedTokenizerBase, *, pair: bool = False
) -> None:
    """Raises UserError unless an input has room for a token beside the special ones."""
    special = tokenizer.num_special_tokens_to_add(pair=pair)
    if max_length < special + 1 + pair:
        raise UserError(
            f"max_length {max_length}: expected at least {special + 1 + pair}, for an input has "
            f"{special} special tokens; raise it"
        )


def require_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError unless the tokenizer works in batches and knows character offsets."""
    if not tokenizer.is_fast:
        raise UserError(
            f"tokenizer {type(tokenizer).__name__}: expected a fast tokenizer; "
            "add its tokenizer.json to the model folder"
        )
