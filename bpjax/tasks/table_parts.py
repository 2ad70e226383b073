"""Rows of a user's table: those trained on, and those evaluated on."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from bpjax.tasks.tables import LABEL, Table, digest_of


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a table, which stay in it until they are wanted.

    Attributes:
      table: the texts.
      labels: numbers for each row of the table.
      places: of the rows in the table; None: all.
    """

    table: Table
    labels: pa.Array
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels) if self.places is None else len(self.places)

    def take(self, places: Sequence[int] | np.ndarray) -> "Part":
        """Some of the rows."""
        if len(places) == len(self):  # places are in their order
            return self
        places = np.asarray(places, np.int64)
        return dataclasses.replace(
            self, places=places if self.places is None else self.places[places]
        )

    def rows(self, start: int = 0, stop: int | None = None) -> pa.Table:
        """Texts and `label` of the rows from `start` to `stop`."""
        columns = {role: self.table.column(role) for role in self.table.roles}
        columns |= {LABEL: self.labels}
        found = pa.table(columns)
        if self.places is None:
            return found.slice(start, None if stop is None else stop - start)
        return found.take(pa.array(self.places[start:stop]))

    def label(self) -> pa.Array:
        """The labels of all rows."""
        return self.labels if self.places is None else self.labels.take(pa.array(self.places))

    def digest(self) -> bytes:
        """Of all that its features depend on."""
        places = b"" if self.places is None else self.places.tobytes()
        return self.table.digest + digest_of(pa.table({LABEL: self.labels})) + places


class Read(NamedTuple):
    """A user's tables, read and checked.

    Attributes:
      kind: what the labels are.
      classes: their names by number; () of scores.
      train: the rows to train on.
      evaluation: the rows to evaluate on.
    """

    kind: str
    classes: tuple[str, ...]
    train: Part
    evaluation: Part
