"""What a column of labels means: classes, any number of classes a row, or a score."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bpjax.errors import UserError
from bpjax.spelling import spelled
from bpjax.tasks.tables import LABEL, TEXT, Table, describe, open_text, shown

KINDS = ("auto", "classification", "multi_label", "regression")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_SEPARATORS = (",", ";", "|")


class Labels(NamedTuple):
    """The labels of some tables, read in one way.

    Attributes:
      kind: "classification", "multi_label" or "regression".
      classes: their names by number; () of a regression.
      columns: one a table: int32 numbers of classes, large lists of them, or float32 scores.
    """

    kind: str
    classes: tuple[str, ...]
    columns: tuple[pa.Array, ...]


class Asked(NamedTuple):
    """What the options say of labels.

    Attributes:
      kind: one of `KINDS`.
      separator: what stands between the labels of a cell; empty where a cell is one.
      names: of the classes, by number; () where the column has them.
    """

    kind: str = "auto"
    separator: str = ""
    names: tuple[str, ...] = ()


def read_names(path: str) -> tuple[str, ...]:
    """Names of classes from a file, one a line.

    Raises:
      UserError: it cannot be read, or a name is empty or there twice.
    """
    if not path:
        return ()
    with open_text(Path(path).expanduser()) as file:
        names = tuple(line.rstrip("\r\n") for line in file)
    for line, name in enumerate(names, 1):
        if not name.strip() or names.index(name) < line - 1:
            raise UserError(
                f"{path} line {line}: {name!r}: expected a name a line, each once; correct the file"
            )
    return names


def read_labels(tables: Sequence[Table], asked: Asked) -> Labels:
    """The labels of tables, of which the first is the one that is trained on.

    Raises:
      UserError: they can be read in two ways, or not as asked; tables differ in kind or classes.
    """
    columns = [table.column(LABEL) for table in tables]
    for table, column in zip(tables, columns, strict=True):
        same = describe(column.type) == describe(columns[0].type)
        if not (same and table.classes.get(LABEL) == tables[0].classes.get(LABEL)):
            raise UserError(
                f"{table.path}: {table.names[LABEL]} holds {describe(column.type)}, that of "
                f"{tables[0].path} {describe(columns[0].type)}: expected labels of one kind, with "
                "the same names; write both in one way"
            )
    if asked.separator:
        columns = [
            _split(table, column, asked) for table, column in zip(tables, columns, strict=True)
        ]
    listed = pa.types.is_large_list(columns[0].type)
    wanted = {"multi_label"} if listed else {"auto", "classification", "regression"}
    if asked.kind not in wanted | {"auto"}:
        mend = "set task.separator to what stands between labels, or" if not listed else ""
        raise UserError(
            f"{tables[0].path}: {tables[0].names[LABEL]} holds "
            f"{describe(columns[0].type)}: expected {' or '.join(sorted(wanted))} and not kind "
            f"{asked.kind}; {mend} change task.kind".replace(";  ", "; ")
        )
    flat = [column.flatten() if listed else column for column in columns]
    kind = "multi_label" if listed else _kind(tables[0], flat[0], asked)
    if kind == "regression":
        if asked.names:
            raise UserError(
                "label_names: expected nothing where labels are scores; remove task.label_names or "
                "set task.kind to classification"
            )
        scores = [_scores(table, x) for table, x in zip(tables, flat, strict=True)]
        return Labels(kind, (), tuple(scores))
    if listed:
        _check_lists(tables, columns)
    classes, numbers = number_classes(tables, LABEL, columns, asked.names)
    require_classes(tables[0], classes)
    if listed:
        for table, column in zip(tables, numbers, strict=True):
            _check_once(table, column, classes)
    return Labels(kind, classes, tuple(numbers))


def number_classes(
    tables: Sequence[Table], role: str, columns: Sequence[pa.Array], names: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[pa.Array]]:
    """Numbers the classes of a column, those of lists alike.

    Args:
      tables: for messages; of the first are the classes, unless their names are known.
      role: of the column.
      columns: one a table: texts, whole numbers, true and false, or lists of these.
      names: of the classes, by number, where they are given.

    Returns:
      Names by number, and the columns as int32 numbers.

    Raises:
      UserError: a class that is not among the names, or not in the first table.
    """
    names = tuple(names) or tables[0].classes.get(role) or ()
    encoded = [_distinct(column) for column in columns]
    found = [
        _spell(table, role, column, *values)
        for table, column, values in zip(tables, columns, encoded, strict=True)
    ]
    numbers = all(isinstance(value, int) for values, _ in encoded for value in values)
    # Numbers of named classes, unless they are the names themselves.
    numbered = bool(names) and (
        numbers or all(_WHOLE.fullmatch(x) for spelt in found for x in spelt)
    )
    if names and numbered and not all(name in names for spelt in found for name in spelt):
        classes, known = names, {str(i): i for i in range(len(names))}
    elif names:
        classes, known = names, {name: i for i, name in enumerate(names)}
    else:
        whole = all(_WHOLE.fullmatch(name) for name in found[0])
        classes = tuple(sorted(found[0], key=int if whole else None))
        known = {name: i for i, name in enumerate(classes)}
    _check_spelling(tables[0], role, classes)
    result = []
    for table, column, (_, codes), spelt in zip(tables, columns, encoded, found, strict=True):
        places = np.array([known.get(name, -1) for name in spelt], np.int32)
        unknown = np.flatnonzero(places == -1)
        if len(unknown):
            raise UserError(
                f"{table.where(_row_with(column, codes, unknown[0]))}: {table.names[role]} "
                f"{spelt[unknown[0]][:80]!r} is not one of the {len(classes)} labels of "
                f"{'the names given' if names else tables[0].path} ({shown(classes)}): expected "
                "one of them; correct the row"
            )
        result.append(_like(column, pa.array(places[codes], pa.int32())))
        _check_trained(tables[0], result[0], table, result[-1], role, classes)
    return classes, result


def _check_trained(
    train: Table,
    trained: pa.Array,
    table: Table,
    numbers: pa.Array,
    role: str,
    classes: Sequence[str],
) -> None:
    """Raises UserError where a table has a class that the one that is trained on has not."""
    flat = _flat(numbers).to_numpy()
    unknown = np.setdiff1d(flat, _flat(trained).to_numpy())
    if len(unknown):
        raise UserError(
            f"{table.where(_row_with(numbers, flat, unknown[0]))}: {table.names[role]} is "
            f"{classes[unknown[0]][:80]!r}, which no row of {train.path} is: expected labels that "
            "are trained on; add rows of it there, or remove these"
        )


def require_classes(table: Table, classes: Sequence[str]) -> None:
    """Raises UserError unless there are two classes or more."""
    if len(classes) < 2:
        raise UserError(
            f"{table.path}: one label alone, {shown(classes)}: expected two or more to tell apart; "
            "add rows of another"
        )


def _distinct(column: pa.Array) -> tuple[list[Any], np.ndarray]:
    """The different values, and of each value, those in lists alike, which one it is."""
    encoded = _flat(column).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def _flat(column: pa.Array) -> pa.Array:
    """All values, those in lists end to end."""
    return column.flatten() if pa.types.is_large_list(column.type) else column


def _like(column: pa.Array, flat: pa.Array) -> pa.Array:
    if not pa.types.is_large_list(column.type):
        return flat
    starts = column.offsets.to_numpy()
    return pa.LargeListArray.from_arrays(pa.array(starts - starts[0]), flat)


def _row_with(column: pa.Array, flat: np.ndarray, number: int | np.integer) -> int:
    """The first row with a number; `flat` are those of all values, end to end."""
    place = int(np.flatnonzero(flat == number)[0])
    if not pa.types.is_large_list(column.type):
        return place
    starts = column.offsets.to_numpy()
    return int(np.searchsorted(starts - starts[0], place, side="right")) - 1


def _spell(
    table: Table, role: str, column: pa.Array, values: Sequence[Any], codes: np.ndarray
) -> list[str]:
    """The different values of a column as names of classes."""
    for number, value in enumerate(values):
        if isinstance(value, float) and not value.is_integer():
            expected = (
                f"is {value!r}: expected names or whole numbers as classes; set task.kind to "
            )
            mend = "regression, or name the classes"
        elif isinstance(value, str) and not value.strip():
            expected, mend = "is empty: expected a label; ", "write one or remove the row"
        else:
            continue
        where = table.where(_row_with(column, codes, number))
        raise UserError(f"{where}: {table.names[role]} {expected}{mend}")
    return [
        str(x).lower() if isinstance(x, bool) else str(int(x)) if isinstance(x, float) else str(x)
        for x in values
    ]


def _check_spelling(table: Table, role: str, classes: Sequence[str]) -> None:
    """Refuses names that differ by case or blanks: models go by names spelled alike."""
    seen: dict[str, str] = {}
    for name in classes:
        form = spelled(name)
        if form and seen.setdefault(form, name) != name:
            raise UserError(
                f"{table.path}: {table.names[role]} has {seen[form][:80]!r} and {name[:80]!r}, "
                "which differ by case, blanks or dashes alone: expected one spelling of a label; "
                "rename one"
            )


def _kind(table: Table, column: pa.Array, asked: Asked) -> str:
    """Whether labels of one a row are classes or scores."""
    if asked.kind != "auto":
        return asked.kind
    if asked.names or table.classes.get(LABEL) or pa.types.is_boolean(column.type):
        return "classification"
    values, _ = _distinct(column)
    if column.type == TEXT:
        numbers = [x for x in values if _NUMBER.fullmatch(x)]
        if not numbers:
            _check_single(table, values)
            return "classification"
        if len(numbers) < len(values):
            word = next(x for x in values if not _NUMBER.fullmatch(x))
            _check_single(table, values)
            raise _ask(table, f"both numbers such as {numbers[0]} and {word[:80]!r}")
        whole = all(_WHOLE.fullmatch(x) for x in values)
        fractions = not all(float(x).is_integer() for x in values)
        values = [float(x) for x in values]
    else:
        whole = pa.types.is_integer(column.type)
        fractions = not all(float(x).is_integer() for x in values)
    if fractions:
        return "regression"
    if whole and sorted(values) == [*range(len(values))]:
        return "classification"
    raise _ask(table, f"whole numbers from {min(values):g} to {max(values):g}")


def _ask(table: Table, holds: str) -> UserError:
    return UserError(
        f"{table.path}: {table.names[LABEL]} holds {holds}, which may be classes or scores: "
        "expected to be told; set task.kind to classification or regression"
    )


def _check_single(table: Table, values: Sequence[str]) -> None:
    """Refuses cells that look like several labels.

    Raises:
      UserError: they are lists as Python prints them, or names of others with a mark between.
    """
    for name in values:
        if name.startswith("[") and name.endswith("]"):
            raise UserError(
                f"{table.where(table.column(LABEL).index(name).as_py())}: {table.names[LABEL]} is "
                f"{name[:80]!r}, which looks like a list: expected labels with a mark between; "
                "write a,b and set task.separator, or set task.kind to classification"
            )
    for mark in _SEPARATORS:
        parts = {name: [part.strip() for part in name.split(mark)] for name in values}
        counts = Counter(part for found in parts.values() for part in set(found))
        for name, found in parts.items():
            if len(found) > 1 and all(counts[part] > 1 for part in found):
                raise UserError(
                    f"{table.where(table.column(LABEL).index(name).as_py())}: "
                    f"{table.names[LABEL]} {name[:80]!r} may be {len(found)} labels or one: "
                    f"expected to be told; set task.separator to {mark!r}, or task.kind to "
                    "classification"
                )


def _scores(table: Table, column: pa.Array) -> pa.Array:
    if column.type == TEXT:
        values, codes = _distinct(column)
        odd = next((x for x in values if not _NUMBER.fullmatch(x)), None)
        if odd is not None:
            raise UserError(
                f"{table.where(column.index(odd).as_py())}: {table.names[LABEL]} is {odd[:80]!r}: "
                "expected a number such as 2.5; correct the row, or set task.kind to classification"
            )
        found = np.array([float(x) for x in values], np.float64)[codes]
    else:
        found = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        scores = found.astype(np.float32)
    wild = np.flatnonzero(~np.isfinite(scores))
    if len(wild):
        raise UserError(
            f"{table.where(int(wild[0]))}: {table.names[LABEL]} is {found[wild[0]]:g}: expected a "
            "finite number of single precision; correct the row"
        )
    return pa.array(scores)


def _split(table: Table, column: pa.Array, asked: Asked) -> pa.Array:
    """Cells of several labels as lists; an empty cell has none."""
    if column.type != TEXT:
        raise UserError(
            f"separator {asked.separator!r}: {table.names[LABEL]} of {table.path} holds "
            f"{describe(column.type)}: expected texts; remove task.separator"
        )
    values, codes = _distinct(column)
    lists = []
    for cell in values:
        parts = [part.strip() for part in cell.split(asked.separator)] if cell.strip() else []
        if not all(parts):
            raise UserError(
                f"{table.where(column.index(cell).as_py())}: {table.names[LABEL]} is "
                f"{cell[:80]!r}: expected a label on both sides of each {asked.separator!r}; "
                "correct the row"
            )
        lists.append(parts)
    return pa.array(lists, pa.large_list(TEXT)).take(pa.array(codes))


def _check_lists(tables: Sequence[Table], columns: Sequence[pa.Array]) -> None:
    """Refuses lists of 0 and 1 as long as each other: numbers of labels, or one of each label?"""
    first, inside = columns[0], columns[0].flatten()
    if pa.types.is_large_list(inside.type) or pa.types.is_floating(inside.type):
        raise UserError(
            f"{tables[0].path}: {tables[0].names[LABEL]} holds {describe(first.type)}: expected "
            "lists of names or of whole numbers; write the names of a row's labels"
        )
    if not (pa.types.is_integer(inside.type) or pa.types.is_boolean(inside.type)):
        return
    lengths = np.diff(first.offsets.to_numpy())
    if len(set(lengths.tolist())) == 1 and lengths[0] > 1 and set(_distinct(inside)[0]) <= {0, 1}:
        raise UserError(
            f"{tables[0].path}: {tables[0].names[LABEL]} holds lists of {lengths[0]} zeros and "
            "ones, which may be one for each label or numbers of labels: expected to be told; "
            "write the names of a row's labels"
        )


def _check_once(table: Table, column: pa.Array, classes: Sequence[str]) -> None:
    """Raises UserError where a row has a label twice."""
    starts, flat = column.offsets.to_numpy(), column.values.to_numpy()
    rows = np.repeat(np.arange(len(column)), np.diff(starts))
    keys = rows * len(classes) + flat
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(twice):
        place = int(order[twice[0]])
        raise UserError(
            f"{table.where(int(rows[place]))}: {table.names[LABEL]} has "
            f"{classes[flat[place]][:80]!r} twice: expected each label once; correct the row"
        )
