"""Tables of a user: CSV, TSV, JSONL, CoNLL and Parquet files, and saved Hugging Face datasets.

Every cell is read as it is written. What can be read two ways, or not at all, is refused with the
line that it is on.
"""

import array
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bpjax.errors import UserError

LABEL = "label"  # what the column of labels is to a task

TEXT = pa.large_string()  # offsets of 64 bits: a column may have more than 2 GB

Choose = Callable[[Sequence[str]], Mapping[str, str]]
"""From the columns that a table has to those that are read, by what they are to the task."""


class Layout(NamedTuple):
    """What a file does not say of itself.

    Attributes:
      columns: names of the columns of a file without a header; () where the first row has them.
      quotes: "auto", "csv" or "none": whether quotes around a cell are a part of its text.
    """

    columns: tuple[str, ...] = ()
    quotes: str = "auto"


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a table that a task reads.

    Attributes:
      path: of the file or folder.
      rows: columns by what they are to the task; no cell is missing.
      names: of the same columns in the table.
      lines: of the file, on which each row begins; None where it has no lines.
      classes: names of the classes by number, of columns that hold numbers of known classes.
    """

    path: str
    rows: pa.Table
    names: Mapping[str, str]
    lines: np.ndarray | None = None
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def roles(self) -> list[str]:
        """What its columns are to the task, but for labels: what a model reads."""
        return [role for role in self.names if role != LABEL]

    def where(self, row: int) -> str:
        """How messages name a row."""
        if self.lines is None:
            return f"{self.path} row {row} (the first is 0)"
        return f"{self.path} line {self.lines[row]}"

    def column(self, role: str) -> pa.Array:
        """A column as one array."""
        column = self.rows.column(role)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    @functools.cached_property
    def digest(self) -> bytes:
        """Of all cells."""
        return digest_of(self.rows)

    def to_arrow(self) -> pa.Table:
        """All of it but for the path and classes."""
        about = {_NAMES: json.dumps(dict(self.names))}
        return self.rows.append_column(_LINES, pa.array(self.lines)).replace_schema_metadata(about)

    @classmethod
    def of_arrow(cls, path: str, found: pa.Table) -> "Table":
        """What `to_arrow` gave.

        Raises:
          KeyError: something else did.
        """
        names = json.loads((found.schema.metadata or {})[_NAMES.encode()])
        lines = found.column(_LINES).to_numpy()
        return cls(path, found.drop_columns([_LINES]), names, lines)


_NAMES, _LINES = "names", "lines of the file"


def digest_of(rows: pa.Table) -> bytes:
    """Of all cells of a table, of whatever chunks."""
    sink = _Sink()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), rows.schema) as stream:
        whole = rows.combine_chunks() if rows[0].num_chunks > 1 else rows
        stream.write_table(whole, max_chunksize=1 << 14)  # each of which is copied
    return sink.digest.digest()


class _Sink(io.RawIOBase):
    """A file that keeps nothing of what is written but a digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


@contextlib.contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator:
    """A UTF-8 file, without a byte-order mark.

    Raises:
      UserError: it is missing, cannot be read, or is not UTF-8, also while the block reads it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}): expected a readable file; check its path "
            "and permissions"
        ) from error


def _not_utf8(path: Path) -> UserError:
    data = path.read_bytes()
    try:
        data.decode("utf-8")
        place = len(data)
    except UnicodeDecodeError as error:
        place = error.start
    line = data.count(b"\n", 0, place) + 1
    return UserError(
        f"{path} line {line}: byte {place} of the file is not UTF-8; expected a UTF-8 file, save "
        "it as one"
    )


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raises UserError where two columns have one name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{path}: {names.count(twice)} columns are named {twice!r}: expected unique names; "
            "rename or remove one"
        )


def check_header(path: Path, layout: Layout) -> None:
    """Raises UserError where columns are named for a table that names them itself."""
    if layout.columns:
        raise UserError(
            f"columns {','.join(layout.columns)!r}: expected nothing, for {path} names its columns "
            "itself; remove task.columns"
        )


def check_cells(table: Table) -> Table:
    """The same table.

    Raises:
      UserError: it has no rows, or a cell is missing or not a number.
    """
    if not len(table.rows):
        raise UserError(f"{table.path}: no rows: expected one or more; add some")
    for role, name in table.names.items():
        column = table.column(role)
        missing = column.is_null(nan_is_null=True)
        inside, starts = column, None
        while pa.types.is_large_list(inside.type):
            starts, inside = inside.offsets.to_numpy(), inside.flatten()
        bad = np.flatnonzero(missing.to_numpy(zero_copy_only=False))
        if not len(bad) and starts is not None:
            within = np.flatnonzero(inside.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
            bad = np.searchsorted(starts - starts[0], within[:1], side="right") - 1
        if len(bad):
            raise UserError(
                f"{table.where(int(bad[0]))}: {name} is missing or not a number: expected a value "
                "in every row; fill it in or remove the row"
            )
    return table


def check_texts(table: Table, role: str) -> None:
    """Raises UserError unless a column is of texts, none of them blank."""
    column = table.column(role)
    if column.type != TEXT:
        raise UserError(
            f"{table.path}: column {table.names[role]!r} holds {describe(column.type)}: expected "
            f"texts; write it as texts or set task.{role} to another column"
        )
    blank = np.flatnonzero(is_blank(column))
    if len(blank):
        told = f" ({len(blank)} such rows)" if len(blank) > 1 else ""
        raise UserError(
            f"{table.where(int(blank[0]))}: {table.names[role]} is empty{told}: expected a text; "
            "write one or remove the row"
        )


def is_blank(texts: pa.Array) -> np.ndarray:
    """Which texts are empty, or blanks alone."""
    blank = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
    return blank.to_numpy(zero_copy_only=False)


def describe(kind: pa.DataType) -> str:
    """What a column holds, in words."""
    if pa.types.is_large_list(kind):
        return f"lists of {describe(kind.value_type)}"
    for holds, words in (
        (pa.types.is_large_string, "texts"),
        (pa.types.is_integer, "whole numbers"),
        (pa.types.is_floating, "numbers"),
        (pa.types.is_boolean, "true and false"),
    ):
        if holds(kind):
            return words
    return f"values of type {kind}"


def shown(names: Sequence[str], most: int = 200) -> str:
    """Names for a message, cut where they are too many."""
    text = ", ".join(map(repr, names))
    return text if len(text) <= most else f"{text[:most]} …"


def find_column(
    path: Path, names: Sequence[str], option: str, given: str, known: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """The columns that an option means.

    Args:
      path: of the table, for messages.
      names: of its columns.
      option: the option's name.
      given: its value; empty to find the columns by their usual names.
      known: usual names, one column or two each; the first goes before all others.

    Raises:
      UserError: there is no such column, or several of the usual ones.
    """
    found: list[tuple[str, ...]]
    if given:
        found = [(given,)] if given in names else []
    else:
        found = [group for group in known if set(group) <= set(names)]
        found = found[:1] if found[:1] == [known[0]] else found
    if len(found) != 1:
        wanted = repr(given) if given else repr(known[0][0])
        several = " and ".join(repr(group[0]) for group in found)
        problem = f"{several} could be the {option}" if found else f"no column {wanted}"
        raise UserError(
            f"{path}: {problem}; the columns are {shown(list(names))}: expected one to be the "
            f"{option}; set task.{option} to its name, or task.columns to all names of a file "
            "without a header"
        )
    return found[0]


def parse_columns(columns: str) -> tuple[str, ...]:
    """The names in the option `columns`.

    Raises:
      UserError: an empty name, or one twice.
    """
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    if not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"columns {columns!r}: expected different names with commas between, such as "
            "text,label; correct task.columns"
        )
    return names


class Texts:
    """A column of texts that grows, as Arrow has it: Python's objects take three times the memory.

    Args:
      where: how messages name a row, and `name` the column: for texts that may not be Unicode.
    """

    def __init__(self, where: Callable[[int], str] = str, name: str = "") -> None:
        self._where, self._name = where, name
        self._bytes, self._lengths = bytearray(), array.array("i")

    def extend(self, texts: Sequence[str]) -> None:
        """Adds texts.

        Raises:
          UserError: half of a surrogate pair, which JSON can spell and UTF-8 cannot.
        """
        try:
            encoded = [text.encode() for text in texts]
        except UnicodeEncodeError as error:
            row, half = len(self._lengths) + texts.index(error.object), error.object[error.start]
            raise UserError(
                f"{self._where(row)}: {self._name} has {half!r} at character {error.start}, half "
                "of a surrogate pair, expected whole characters; put the whole one or \\ufffd in "
                "its place"
            ) from error
        self._bytes += b"".join(encoded)
        self._lengths.extend(map(len, encoded))

    def array(self) -> pa.Array:
        """All of it."""
        ends = np.cumsum(np.asarray(self._lengths), dtype=np.int64)
        starts = pa.py_buffer(np.concatenate([np.zeros(1, np.int64), ends]))
        return pa.LargeStringArray.from_buffers(len(ends), starts, pa.py_buffer(self._bytes))
