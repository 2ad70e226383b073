"""Tables from files of text: CSV, TSV, JSONL and CoNLL, whose rows have lines to be named by."""

import array
import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bpjax.errors import UserError
from bpjax.tasks.tables import (
    Choose,
    Layout,
    Table,
    Texts,
    check_header,
    check_names,
    open_text,
)

BATCH = 1 << 14  # rows that are Python objects at a time


def read_csv(path: Path, choose: Choose, layout: Layout) -> Table:
    """A CSV file, quoted as RFC 4180 has it."""
    quoted = layout.quotes != "none"
    return _read_delimited(path, choose, layout, ",", quoted)


def read_tsv(path: Path, choose: Choose, layout: Layout) -> Table:
    """A TSV file. Some programs put quotes around cells, others mean quotes as text.

    Where both readings are possible, quotes that a program needs are a program's, and quotes around
    some cells that do not need them are text.

    Raises:
      UserError: as for CSV; or all cells of a column are in quotes, and none needs them.
    """
    if layout.quotes != "auto":
        return _read_delimited(path, choose, layout, "\t", layout.quotes == "csv")
    with open_text(path) as file:
        differ = any(line.startswith('"') or '\t"' in line for line in file)
    if not differ:
        return _read_delimited(path, choose, layout, "\t", quoted=False)
    found, errors = [], []
    for quoted in (False, True):
        try:
            found.append(_read_delimited(path, choose, layout, "\t", quoted))
        except UserError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    if len(found) == 1:
        return found[0]
    text, unquoted = found
    if all(map(_needs_quotes, text.rows.columns)):
        return unquoted
    if all(_needs_quotes(cells) or _all_quoted(cells) for cells in text.rows.columns):
        raise UserError(
            f"{path}: cells begin with a quote, which may be text or stand around the cell: "
            "expected to be told; set task.quotes to none or csv"
        )
    return text


def _all_quoted(cells: pa.ChunkedArray) -> bool:
    return pc.all(pc.starts_with(cells, '"'), min_count=0).as_py()


def _needs_quotes(cells: pa.ChunkedArray) -> bool:
    """Whether all cells that begin with a quote have a doubled one inside.

    A program that puts quotes where they are needed, and not around all cells, makes these.
    """
    quoted = cells.filter(pc.starts_with(cells, '"'))
    inside = pc.utf8_slice_codeunits(quoted, 1, -1)
    return pc.all(pc.match_substring(inside, '""'), min_count=0).as_py()


def _read_delimited(
    path: Path, choose: Choose, layout: Layout, delimiter: str, quoted: bool
) -> Table:
    limit = csv.field_size_limit(sys.maxsize)  # one for the whole process
    try:
        with open_text(path, newline="") as file:
            reader = csv.reader(
                file,
                delimiter=delimiter,
                strict=True,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )
            return _collect(path, choose, layout, _numbered(path, reader))
    finally:
        csv.field_size_limit(limit)


def _numbered(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows with the lines that they begin on; blank lines are none."""
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path} line {line}: {error}: expected cells in whole quotes or without any, and a "
            "quote in a quoted cell doubled; mend the row, or set task.quotes to none where quotes "
            "are text"
        ) from error


def _collect(
    path: Path, choose: Choose, layout: Layout, rows: Iterator[tuple[int, list[str]]]
) -> Table:
    names, first = layout.columns, next(rows, None)
    if first is None:
        raise UserError(f"{path}: the file is empty: expected a header and rows; fill it")
    if not names:
        names, first = tuple(first[1]), None
        check_names(path, names)
    elif tuple(first[1]) == names:
        raise UserError(
            f"{path}: the first line is {','.join(names)}, a header: expected rows alone where "
            "task.columns names the columns; remove task.columns"
        )
    chosen = choose(names)
    places = [names.index(name) for name in chosen.values()]
    texts = [Texts() for _ in places]
    lines = array.array("q")
    new: list[list[str]] = [[] for _ in places]
    for line, cells in itertools.chain([first] if first else [], rows):
        if len(cells) != len(names):
            raise UserError(
                f"{path} line {line}: {len(cells)} cells: expected {len(names)} "
                f"({', '.join(names)[:80]}); mend the row, or set task.columns"
            )
        lines.append(line)
        for column, place in zip(new, places, strict=True):
            column.append(cells[place])
        if len(new[0]) == BATCH:
            _move(new, texts)
    _move(new, texts)
    columns = {role: text.array() for role, text in zip(chosen, texts, strict=True)}
    return Table(str(path), pa.table(columns), chosen, np.array(lines, np.int64))


def _move(new: list[list[str]], texts: list[Texts]) -> None:
    for cells, column in zip(new, texts, strict=True):
        column.extend(cells)
        cells.clear()


def read_jsonl(path: Path, choose: Choose, layout: Layout) -> Table:
    """A file of one JSON object a line; blank lines are none.

    What an object in a row has is a column, too: `translation.en` of
    `{"translation": {"en": "a man", "de": "ein Mann"}}`.
    """
    check_header(path, layout)
    values: dict[str, _Values] = {}
    chosen, lines = None, array.array("q")
    keys: dict[str, tuple[str, ...]] = {}

    def where(row: int) -> str:
        return f"{path} line {lines[row]}"

    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            entry = _entry(text, f"{path} line {line}")
            if chosen is None:
                keys = dict(_keys(entry))
                chosen = choose(tuple(keys))
                values = {role: _Values(where, name) for role, name in chosen.items()}
            lines.append(line)
            for role, name in chosen.items():
                values[role].append(_at(entry, keys[name]))
    if chosen is None:
        raise UserError(f"{path}: the file is empty: expected a JSON object a line; fill it")
    columns = {role: values.pop(role).array() for role in chosen}
    return Table(str(path), pa.table(columns), chosen, np.array(lines, np.int64))


def _entry(text: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: not JSON ({' '.join(str(error).split())}); expected an object on a line of "
            "its own, mend the line"
        ) from error
    if not isinstance(entry, dict):
        raise UserError(
            f"{where}: {str(entry)[:80]!r}: expected an object such as "
            '{"text": "…", "label": "…"}; mend the line'
        )
    return entry


def _keys(entry: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of columns, and by which keys their values are found in an object."""
    for name in entry:
        yield name, (name,)
    for name, value in entry.items():
        for inner, keys in _keys(value) if isinstance(value, dict) else ():
            if f"{name}.{inner}" not in entry:
                yield f"{name}.{inner}", (name, *keys)


def _at(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


_KINDS = {str: str, bool: bool, int: float, float: float, list: list}


class _Values:
    """A column of JSON values that grows, all of the first one's type."""

    def __init__(self, where: Callable[[int], str], name: str) -> None:
        self._where, self._name, self._texts = where, name, Texts(where, name)
        self._first: Any = None
        self._new: list[str] = []
        self._values: list[Any] = []
        self._rows, self._ends = 0, array.array("q", [0])
        self._inside: _Values | None = None

    def append(self, value: Any) -> None:
        """Adds a value.

        Raises:
          UserError: none, or one of another type than those before, or of one that no column has.
        """
        kind = _KINDS.get(type(value))
        if self._first is None:
            self._first = value
        if kind is None or kind is not _KINDS[type(self._first)]:
            raise self._refusal(value)
        if kind is str:
            self._new.append(value)
            if len(self._new) == BATCH:
                _move([self._new], [self._texts])
        elif kind is list:
            self._inside = self._inside or _Values(self._where_inside, self._name)
            for each in value:
                self._inside.append(each)
            self._ends.append(self._ends[-1] + len(value))
        elif type(value) is int and abs(value) >= 1 << 63:
            raise UserError(
                f"{self._where(self._rows)}: {self._name} is {str(value)[:80]}: expected a number "
                "of 64 bits; mend the line"
            )
        else:
            self._values.append(value)
        self._rows += 1

    def _where_inside(self, place: int) -> str:
        return self._where(int(np.searchsorted(self._ends, place, side="right")) - 1)

    def _refusal(self, value: Any) -> UserError:
        where = self._where(self._rows)
        if value is None:
            return UserError(
                f"{where}: {self._name} is missing: expected a value in every row; fill it in or "
                "remove the row"
            )
        before = "" if value is self._first else f", before it {repr(self._first)[:80]}"
        return UserError(
            f"{where}: {self._name} is {repr(value)[:80]}{before}: expected texts, numbers or "
            "lists, the same in every row; write all of them in one way"
        )

    def array(self) -> pa.Array:
        """All of it."""
        if self._inside is not None:
            inside = self._inside.array()
            return pa.LargeListArray.from_arrays(pa.array(np.array(self._ends)), inside)
        _move([self._new], [self._texts])
        if any(type(value) is float for value in self._values):
            return pa.array([*map(float, self._values)])
        return pa.array(self._values) if self._values else self._texts.array()


PARALLEL_COLUMNS = ("source", "target")


def read_parallel(path: Path, files: Sequence[Path], choose: Choose) -> Table:
    """Two files of as many lines, each a text: sources, and targets in their order.

    Args:
      path: of both, for messages.
      files: of sources and of targets.
      choose: which of the two columns are wanted.

    Raises:
      UserError: a file cannot be read, or they have other numbers of lines.
    """
    chosen = choose(PARALLEL_COLUMNS)
    found = {}
    for name, file_path in zip(PARALLEL_COLUMNS, files, strict=True):
        texts, new = Texts(), list[str]()
        with open_text(file_path) as file:
            for line in file:
                new.append(line.rstrip("\r\n"))
                if len(new) == BATCH:
                    _move([new], [texts])
        _move([new], [texts])
        found[name] = texts.array()
    counts = [len(column) for column in found.values()]
    if counts[0] != counts[1]:
        raise UserError(
            f"{files[0]} has {counts[0]} lines and {files[1]} {counts[1]}: expected as many, the "
            "target of each source on the line of its number; mend the files"
        )
    columns = {role: found[name] for role, name in chosen.items()}
    return Table(str(path), pa.table(columns), chosen, np.arange(1, counts[0] + 1))


CONLL_COLUMNS = ("tokens", "tags")


def read_conll(path: Path, choose: Choose, layout: Layout) -> Table:
    """A file of a token and its tag a line, sentences apart by a blank line.

    Cells are apart by tabs where the first line has one, else by blanks. `-DOCSTART-` lines tell of
    a new document, and are no tokens.
    """
    names = layout.columns or CONLL_COLUMNS
    chosen = choose(names)
    places = [names.index(name) for name in chosen.values()]
    texts = [Texts() for _ in places]
    lines, starts = array.array("q"), array.array("q", [0])
    new: list[list[str]] = [[] for _ in places]
    count, split = 0, None
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            text = text.rstrip("\r\n")
            if not text.strip(" \t"):
                if count > starts[-1]:
                    starts.append(count)
                continue
            split = split or _splitter(text)
            cells = split(text)
            if cells[0] == "-DOCSTART-":
                continue
            if len(cells) != len(names) or not all(cells):
                raise UserError(
                    f"{path} line {line}: {len([*filter(None, cells)])} cells: expected "
                    f"{len(names)} ({', '.join(names)[:80]}); mend the line, or set task.columns "
                    "to a name for each cell, such as tokens,pos,chunk,tags"
                )
            if count == starts[-1]:
                lines.append(line)
            count += 1
            for column, place in zip(new, places, strict=True):
                column.append(cells[place])
            if len(new[0]) == BATCH:
                _move(new, texts)
    _move(new, texts)
    if count > starts[-1]:
        starts.append(count)
    offsets = pa.array(np.array(starts, np.int64))
    columns = {
        role: pa.LargeListArray.from_arrays(offsets, text.array())
        for role, text in zip(chosen, texts, strict=True)
    }
    return Table(str(path), pa.table(columns), chosen, np.array(lines, np.int64))


def _splitter(line: str) -> Callable[[str], Sequence[str]]:
    if "\t" in line:
        return lambda text: text.split("\t")
    return lambda text: [cell for cell in text.split(" ") if cell]
