"""Columns of features: flat arrays, and where each row begins in those whose length differs."""

import array
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

LENGTH, TARGET_LENGTH = "length", "target_length"
"""Axes of ragged columns: what a model reads, and what its decoder writes; as `models.inputs` has
them."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One array a row, end to end.

    Attributes:
      values: `[rows, …]` of rows of one shape, `()` among them; of ragged ones `[total, …]`.
      starts: where each row's values begin, and `total` at the end; None where rows have one shape.
      fill: what stands at the padding of ragged rows.
      axis: whose length that of ragged rows is: all columns of an axis are padded alike.

    Raises:
      ValueError: `starts` that are not places in `values`, in their order.
    """

    values: np.ndarray
    starts: np.ndarray | None = None
    fill: int = 0
    axis: str = LENGTH

    def __post_init__(self) -> None:
        if self.starts is None:
            return
        first, last = self.starts[[0, -1]]
        if first != 0 or last != len(self.values) or np.any(np.diff(self.starts) < 0):
            raise ValueError(f"starts from {first} to {last} of {len(self.values)} values")

    @classmethod
    def ragged(cls, rows: Sequence[Any], dtype: str = "int32", *, fill: int = 0) -> "Column":
        """Of rows whose lengths differ, numbers `[length]` each."""
        starts = starts_of(rows)
        return cls(np.fromiter(chain.from_iterable(rows), dtype, int(starts[-1])), starts, fill)

    @classmethod
    def joined(cls, rows: Sequence[np.ndarray], empty: np.ndarray, *, fill: int = 0) -> "Column":
        """Of rows whose lengths differ, arrays `[length, …]`; `empty` where there are none."""
        return cls(np.concatenate(rows) if len(rows) else empty, starts_of(rows), fill)

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.values) if self.starts is None else len(self.starts) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Of each row, int32; 1 where all have one shape."""
        if self.starts is None:
            return np.ones(self.rows, np.int32)
        return np.diff(self.starts).astype(np.int32)

    def __getitem__(self, row: int) -> np.ndarray:
        if self.starts is None:
            return np.asarray(self.values[row])
        return self.values[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: Sequence[int]) -> "Column":
        """Some of the rows, in the order given."""
        if self.starts is None:
            return dataclasses.replace(self, values=self.values[np.asarray(rows, int)])
        taken = Column.joined([self[row] for row in rows], self.values[:0])
        return dataclasses.replace(self, values=taken.values, starts=taken.starts)

    def pad(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Some rows as one array, ragged ones padded to `length`.

        Args:
          rows: which, by place; where it is negative there is no row: of a ragged column all of it
            is padding, of another all of it 0.
          length: at least that of the longest.

        Raises:
          ValueError: a row is longer.
        """
        if self.starts is None:
            found = np.zeros((len(rows), *self.values.shape[1:]), self.values.dtype)
            found[rows >= 0] = self.values[rows[rows >= 0]]
            return found
        lengths = np.where(rows >= 0, self.lengths[rows], 0)
        if lengths.max(initial=0) > length:
            raise ValueError(f"a row of {lengths.max()} values: expected {length} at most")
        places = np.arange(length)
        inside = places < lengths[:, None]
        shape = (*inside.shape, *self.values.shape[1:])
        found = np.full(shape, self.fill, self.values.dtype)
        found[inside] = self.values[(self.starts[rows][:, None] + places)[inside]]
        return found


class Growing:
    """A ragged column of int32 that grows by some rows at a time, without a second copy of it."""

    def __init__(self) -> None:
        self._values = array.array("i")
        self._lengths = array.array("i")

    def extend(self, rows: Sequence[Any]) -> None:
        """Adds rows, numbers `[length]` each."""
        lengths = [*map(len, rows)]
        self.extend_flat(np.fromiter(chain.from_iterable(rows), np.int32, sum(lengths)), lengths)

    def extend_flat(self, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> None:
        """Adds rows that lie end to end."""
        self._values.frombytes(values.astype(np.int32, copy=False).tobytes())
        self._lengths.frombytes(np.asarray(lengths, np.int32).tobytes())

    def column(self, fill: int = 0, axis: str = LENGTH) -> Column:
        """The column as it is now."""
        starts = np.concatenate([[0], np.cumsum(np.asarray(self._lengths), dtype=np.int64)])
        return Column(np.asarray(self._values), starts, fill, axis)


def starts_of(rows: Sequence[Any]) -> np.ndarray:
    """Where each row begins when they lie end to end, and the end."""
    return np.cumsum([0, *map(len, rows)], dtype=np.int64)


Columns = Mapping[str, Column]
"""By name; all of as many rows."""


def columns_of(
    rows: Sequence[Mapping[str, np.ndarray]], fills: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Column]:
    """Columns of rows given one by one.

    Args:
      rows: arrays by name, the same names in each. Those of one axis are ragged; others have one
        shape.
      fills: what stands at padding, by name, where it is not 0.
    """
    columns = {}
    for name in rows[0] if rows else ():
        values = [np.asarray(row[name]) for row in rows]
        if values[0].ndim == 1:
            kind, fill = str(values[0].dtype), fills.get(name, 0)
            columns[name] = Column.ragged(values, kind, fill=fill)
        else:
            columns[name] = Column(np.stack(values))
    return columns


class Rows(Sequence[dict[str, np.ndarray]]):
    """Columns, seen a row at a time."""

    def __init__(self, columns: Columns):
        self._columns = columns

    def __len__(self) -> int:
        return next((column.rows for column in self._columns.values()), 0)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        place = range(len(self))[row]
        return {name: column[place] for name, column in self._columns.items()}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[row] for row in range(len(self)))
