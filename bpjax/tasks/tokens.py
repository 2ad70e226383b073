"""A tag for each word of a sentence of a user's table: names of things, parts of speech."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base, metrics
from bpjax.tasks.cache import cached
from bpjax.tasks.columns import Column, Growing, Rows
from bpjax.tasks.own import TableTask
from bpjax.tasks.table_labels import (
    Labels,
    number_classes,
    read_names,
    require_classes,
)
from bpjax.tasks.table_parts import Part
from bpjax.tasks.tables import LABEL, TEXT, Table, describe, find_column, is_blank

FEATURES = 1  # of the code that makes them: see `cache.cached`

BATCH = 1000  # sentences tokenised at a time

TOKENS = (("tokens",), ("words",))
TAGS = (("tags",), ("ner_tags",), ("pos_tags",), ("chunk_tags",), ("labels",))

OUTSIDE = "O"  # the tag of a word of no entity

_ENTITY = re.compile(r"[BIES]-.+")
_LIKE_ENTITY = re.compile(r"[BIESLU][-_].+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Tokens(TableTask):
    """A tag for each word of a table of sentences, split into words.

    A sentence's words and tags are lists, or texts with blanks between. A word's tag is taught to,
    and read from, its first token.

    Attributes:
      tokens: name of the column of words; empty: the usual one that the table has.
      tags: name of the column of tags; empty: the usual one that the table has.
    """

    tokens: str = ""
    tags: str = ""

    name: ClassVar[str] = "tokens"
    head: ClassVar[str] = "tokens"

    @property
    def metric(self) -> str:
        """F1 of whole entities where tags are IOB, else accuracy."""
        return "f1" if has_entities(self.labels) else "accuracy"

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """The columns of words and of tags."""
        words = find_column(path, names, "tokens", self.tokens, TOKENS)
        tags = find_column(path, names, "tags", self.tags, TAGS)
        if words == tags:
            raise UserError(
                f"{path}: {words[0]!r} is both tokens and tags: expected two columns; change "
                "task.tokens or task.tags"
            )
        return {"tokens": words[0], LABEL: tags[0]}

    def check(self, table: Table) -> Table:
        """The same table with lists of words and tags, as many of both in each row."""
        columns = {role: _lists(table, role) for role in table.names}
        table = dataclasses.replace(table, rows=pa.table(columns))
        _check_counts(table)
        return table

    def read_labels(self, tables: Sequence[Table]) -> Labels:
        """The tags."""
        tags = [table.column(LABEL) for table in tables]
        classes, numbers = number_classes(tables, LABEL, tags, read_names(self.label_names))
        require_classes(tables[0], classes)
        check_scheme(tables[0], classes)
        return Labels("tokens", classes, tuple(numbers))

    def evaluate(self, features: base.Features, logits: Sequence[np.ndarray]) -> dict[str, float]:
        """F1, precision and recall of whole entities as conlleval has them, and accuracy of words.

        Where tags are not IOB: accuracy and macro-averaged F1 of words. A word without a
        prediction, having no token or being cut off, counts as `O`, or as wrong where tags are not
        IOB; `unseen` is how many words these are. All in percent.
        """
        gold, predicted = self._answers(features, logits)
        score = metrics.entities if has_entities(self.labels) else metrics.words
        found = score(predicted, gold)
        unseen = np.concatenate([e["places"] for e in features.examples]) < 0
        return found | ({"unseen": 100.0 * float(unseen.mean())} if unseen.any() else {})

    def by_class(
        self, features: base.Features, logits: Sequence[np.ndarray]
    ) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 by kind of entity, or by tag, and how many there are."""
        gold, predicted = self._answers(features, logits)
        if has_entities(self.labels):
            return metrics.by_entity(predicted, gold)
        number = {name: i for i, name in enumerate((*self.labels, ""))}
        flat = [np.array([number[x] for x in chain(*rows)]) for rows in (predicted, gold)]
        return metrics.by_class(flat[0], flat[1], self.labels)

    def _answers(
        self, features: base.Features, logits: Sequence[np.ndarray]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """The tags of each sentence: right ones, and predicted ones."""
        if len(logits) != len(features):
            raise ValueError(f"{len(logits)} rows of logits for {len(features)} examples")
        names = np.array([*self.labels, OUTSIDE if has_entities(self.labels) else ""], object)
        gold, predicted = [], []
        for example, row in zip(features.examples, logits, strict=True):
            places = example["places"]
            found = np.where(places < 0, len(names) - 1, row.argmax(-1)[places])
            gold.append(names[example["tags"]].tolist())
            predicted.append(names[found].tolist())
        return gold, predicted

    def _features(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        columns = self._columns(rows, tokenizer)
        examples = {name: columns.pop(name) for name in ("tags", "places")}
        return base.Features(columns, Rows(examples))

    @cached(FEATURES)
    def _columns(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> dict[str, Column]:
        """What the model reads and learns, and of each word its tag and the place of its token."""
        base.require_fast(tokenizer)
        base.require_room(self.max_length, tokenizer)
        check_words(tokenizer)
        numbers = self._numbers()
        found = {name: Growing() for name in ("input_ids", "label", "tags", "places")}
        for start in range(0, len(rows), BATCH):
            part = rows.rows(start, start + BATCH)
            for name, (values, lengths) in self._batch(part, tokenizer, numbers):
                found[name].extend_flat(values, lengths)
        fills = {"label": base.NO_LABEL}
        return {name: column.column(fills.get(name, 0)) for name, column in found.items()}

    def _batch(
        self, rows: pa.Table, tokenizer: PreTrainedTokenizerBase, numbers: np.ndarray
    ) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        """Values end to end and lengths, by column."""
        labels = pc.list_flatten(rows.column(LABEL)).to_numpy(zero_copy_only=False)
        words = pc.list_value_length(rows.column(LABEL)).to_numpy(zero_copy_only=False)
        encoded = tokenizer(
            rows.column("tokens").to_pylist(),
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_token_type_ids=False,
            return_attention_mask=False,
        )
        ids = encoded["input_ids"]
        lengths = np.array([*map(len, ids)])
        starts = np.cumsum([0, *lengths])
        word = np.array(
            [-1 if x is None else x for i in range(len(ids)) for x in encoded.word_ids(i)], np.int64
        )
        before = np.concatenate([[-1], word[:-1]])
        before[starts[:-1][lengths > 0]] = -1
        firsts = np.flatnonzero((word >= 0) & (word != before))
        row = np.repeat(np.arange(len(ids)), lengths)[firsts]
        owner = np.cumsum([0, *words])[row] + word[firsts]  # of the batch's words, which one
        tags = numbers[labels]
        label = np.full(len(word), base.NO_LABEL, np.int32)
        label[firsts] = tags[owner]
        places = np.full(len(tags), -1, np.int32)
        places[owner] = firsts - starts[row]
        yield "input_ids", (np.fromiter(chain.from_iterable(ids), np.int32, len(word)), lengths)
        yield "label", (label, lengths)
        yield "tags", (tags, words)
        yield "places", (places, words)


def has_entities(tags: Sequence[str]) -> bool:
    """Whether tags mark the words of entities: IOB, or IOBES."""
    return all(tag == OUTSIDE or _ENTITY.fullmatch(tag) for tag in tags)


def check_scheme(table: Table, tags: Sequence[str]) -> None:
    """Raises UserError for tags that are nearly IOB: nobody would count their entities right."""
    near = [tag for tag in tags if _LIKE_ENTITY.fullmatch(tag)]
    odd = next((tag for tag in tags if tag != OUTSIDE and not _ENTITY.fullmatch(tag)), None)
    if near and odd is not None:
        raise UserError(
            f"{table.path}: tags {near[0][:80]!r} and {odd[:80]!r}: expected all of them to be O, "
            "B-KIND or I-KIND (or E- and S-), or none; rename them"
        )


def check_words(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError where a tokenizer reads a word after a blank as it was never trained to."""
    apart, joined = (
        tokenizer(text, is_split_into_words=split, add_special_tokens=False)["input_ids"][-1]
        for text, split in ((["a", "a"], True), ("a a", False))
    )
    if apart != joined:
        raise UserError(
            f"tokenizer {type(tokenizer).__name__}: words given one by one lose the blank before "
            "them: expected add_prefix_space; set it to true in its tokenizer_config.json"
        )


def _lists(table: Table, role: str) -> pa.Array:
    """A column of lists; texts are split at their blanks.

    Raises:
      UserError: it holds something else.
    """
    column, name = table.column(role), table.names[role]
    if column.type == TEXT:
        printed = pc.match_substring_regex(column, r"^\s*\[\s*['\"]").to_numpy(zero_copy_only=False)
        if printed.any():
            row = int(np.flatnonzero(printed)[0])
            raise UserError(
                f"{table.where(row)}: {name} is {column[row].as_py()[:80]!r}, a list as Python "
                "prints it: expected words with blanks between; write them so, or the table as "
                ".jsonl"
            )
        split = pc.split_pattern_regex(pc.utf8_trim(column, " "), " +")
        return split.cast(pa.large_list(TEXT))
    inside = column.type.value_type if pa.types.is_large_list(column.type) else None
    numbers = role == LABEL and inside is not None and pa.types.is_integer(inside)
    if inside != TEXT and not numbers:
        option = "tags" if role == LABEL else role
        raise UserError(
            f"{table.path}: column {name!r} holds {describe(column.type)}: expected lists of "
            f"{option}; write it so, or set task.{option} to another column"
        )
    return column


def _check_counts(table: Table) -> None:
    """Raises UserError unless each row has words, none empty, and a tag for each."""
    words = table.column("tokens")
    counts = [
        pc.list_value_length(x).to_numpy(zero_copy_only=False) for x in (words, table.column(LABEL))
    ]
    differ = np.flatnonzero(counts[0] != counts[1])
    if len(differ):
        row = int(differ[0])
        raise UserError(
            f"{table.where(row)}: {counts[0][row]} tokens and {counts[1][row]} tags: expected as "
            "many; mend the row"
        )
    empty = np.flatnonzero(counts[0] == 0)
    if len(empty):
        raise UserError(
            f"{table.where(int(empty[0]))}: no tokens: expected one or more; remove the row"
        )
    blank = np.flatnonzero(is_blank(words.flatten()))
    if len(blank):
        row = int(np.searchsorted(np.cumsum(counts[0]), blank[0], side="right"))
        raise UserError(
            f"{table.where(row)}: an empty token: expected words; remove it and its tag"
        )
