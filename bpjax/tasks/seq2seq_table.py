"""What tasks on tables of sources and targets share: the columns, and what a cell may hold."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bpjax.errors import UserError
from bpjax.tasks.own import TableTask
from bpjax.tasks.seq2seq import SOURCE, Seq2Seq
from bpjax.tasks.table_labels import Labels
from bpjax.tasks.tables import LABEL, TEXT, Table, check_texts, describe, find_column, is_blank

TARGET = "target"

Names = tuple[tuple[str, ...], ...]

ENOUGH = 1000  # rows that tell in which letters targets are written

UNSEEN = {
    "rougeLsum": (
        r"[^\P{L}A-Za-z]",
        "most letters of the targets are others than a to z, which ROUGE does not see: it says "
        "little here",
    ),
    "bleu": (
        r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]",
        "the targets have no blanks between words, by which BLEU finds them: chrf says more here",
    ),
}
"""By metric: letters that it does not see, or not as words, and what is then told."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PairTable(Seq2Seq, TableTask):
    """A task on rows of a source and a target, or several targets that are all right.

    Attributes:
      data: the table to train on: a .csv, .tsv, .jsonl or .parquet file, or the folder of a saved
        Hugging Face dataset; or two files of texts with a comma between, of sources and of targets,
        one a line.
      source: name of the column of sources; empty: the usual one that the table has.
      target: name of the column of targets; empty: the usual one that the table has.
    """

    source: str = ""
    target: str = ""

    sources: ClassVar[Names]
    targets: ClassVar[Names]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_names:
            raise UserError(
                f"label_names {self.label_names!r}: expected nothing where targets are texts; "
                "remove task.label_names"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """There are no classes; the tables are read, so that what is wrong with them is told."""
        return self.read.classes

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """The columns of sources and of targets.

        Raises:
          UserError: one is not there, several could be meant, or both are the same.
        """
        (source,) = find_column(path, names, SOURCE, self.source, self.sources)
        (target,) = find_column(path, names, TARGET, self.target, self.targets)
        if source == target:
            raise UserError(
                f"{path}: {source!r} is both source and target: expected two columns; change "
                "task.source or task.target"
            )
        return {SOURCE: source, LABEL: target}

    def check(self, table: Table) -> Table:
        """The same table: of each row one source, its sentences joined, and a list of targets."""
        sources = _join(table)
        table = dataclasses.replace(
            table, rows=pa.table({SOURCE: sources, LABEL: _targets(table)}), classes={}
        )
        check_texts(table, SOURCE)
        return table

    def check_alike(self, tables: Sequence[Table]) -> None:
        """Raises UserError for files the other way round: train.en,train.de and val.de,val.en."""
        super().check_alike(tables)
        ends = [[Path(name).suffix for name in table.path.split(",")] for table in tables]
        if ends[-1] != ends[0] == ends[-1][::-1]:
            raise UserError(
                f"{tables[-1].path}: {' before '.join(ends[-1])}, and {tables[0].path} has them "
                "the other way round: expected sources before targets in both; turn one"
            )

    def read_labels(self, tables: Sequence[Table]) -> Labels:
        """The targets.

        Tells of rows to train on with several, and of targets that the metric hardly sees.
        """
        train, evaluation = tables[0], tables[-1]
        several = np.count_nonzero(pc.list_value_length(train.column(LABEL)).to_numpy() > 1)
        if several:
            _log.warning(
                "%s: %d of %d rows have several targets: the first of each is learnt",
                train.path,
                several,
                len(train.rows),
            )
        letters, told = UNSEEN[self.metric]
        some = evaluation.column(LABEL).slice(0, ENOUGH).flatten()
        unseen, all_letters = (
            pc.sum(pc.count_substring_regex(some, pattern)).as_py()
            for pattern in (letters, r"\p{L}")
        )
        if unseen > all_letters / 2:
            _log.warning("%s: %s", evaluation.path, told)
        return Labels("seq2seq", (), tuple(table.column(LABEL) for table in tables))


def _join(table: Table) -> pa.Array:
    """Sources; sentences that are given as a list stand with a blank between."""
    column = table.column(SOURCE)
    if column.type == TEXT:
        _require_no_list(table, SOURCE, column)
    if column.type != pa.large_list(TEXT):
        return column
    inside = column.flatten()
    filled = np.flatnonzero(~is_blank(inside))  # an empty sentence is none
    row = np.repeat(np.arange(len(column)), pc.list_value_length(column).to_numpy())[filled]
    ends = np.searchsorted(row, np.arange(len(column) + 1))
    kept = pa.LargeListArray.from_arrays(pa.array(ends), inside.take(pa.array(filled)))
    return pc.binary_join(kept, pa.scalar(" ", TEXT))


def _targets(table: Table) -> pa.Array:
    """A list of targets a row, also where one is given as a text.

    Raises:
      UserError: they are no texts, or a row has none, or an empty one.
    """
    column, name = table.column(LABEL), table.names[LABEL]
    if column.type == TEXT:
        _require_no_list(table, LABEL, column)
        column = pa.LargeListArray.from_arrays(pa.array(np.arange(len(column) + 1)), column)
    if column.type != pa.large_list(TEXT):
        raise UserError(
            f"{table.path}: column {name!r} holds {describe(column.type)}: expected texts, or "
            "lists of texts that are all right; write it so, or set task.target to another column"
        )
    counts = pc.list_value_length(column).to_numpy()
    blank = np.repeat(np.arange(len(column)), counts)[is_blank(column.flatten())]
    bad = np.concatenate([np.flatnonzero(counts == 0), blank])
    if len(bad):
        row = int(bad.min())
        told = f" ({len(np.unique(bad))} such rows)" if len(np.unique(bad)) > 1 else ""
        problem = "empty" if counts[row] < 2 else "a list with an empty text"
        raise UserError(
            f"{table.where(row)}: {name} is {problem}{told}: expected a text to be written; write "
            "one or remove the row"
        )
    return column


def _require_no_list(table: Table, role: str, column: pa.Array) -> None:
    """Raises UserError where all texts of a column are lists as Python prints them."""
    if pc.all(pc.match_substring_regex(column, r"^\s*\[\s*['\"](?s:.*)\]\s*$")).as_py():
        raise UserError(
            f"{table.where(0)}: {table.names[role]} is {column[0].as_py()[:80]!r}, a list as "
            "Python prints it: expected a text, or a list in a .jsonl or .parquet file; write the "
            "table so"
        )
