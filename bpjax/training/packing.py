"""Batches whose rows lie end to end in bins: one shape for all steps, and little padding.

The rows, sorted by length, are cut into as many strata as a batch has rows, and each batch takes
one row of each stratum. So all batches have about as many tokens, and one division of strata into
bins, made for the longest row of each, holds them all.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from bpjax.errors import UserError


class Bins(NamedTuple):
    """Which of a batch's rows lie in which bin.

    Attributes:
      size: tokens of a bin.
      length: that the rows of a batch are padded to where they are counted.
      rows: of each bin the rows, by their places in the batch.
    """

    size: int
    length: int
    rows: tuple[tuple[int, ...], ...]

    def fill(self, lengths: Int[np.ndarray, " batch"]) -> Int[np.ndarray, "bins size"]:
        """Which tokens lie where, see `models.inputs.PACKED`.

        Args:
          lengths: tokens of each row of the batch; 0 where there is none.
        """
        tokens = np.full((len(self.rows), self.size), -1, np.int32)
        for places, bin_rows in zip(tokens, self.rows, strict=True):
            laid = [np.arange(lengths[row], dtype=np.int32) + row * self.length for row in bin_rows]
            found = np.concatenate(laid)
            places[: len(found)] = found
        return tokens


def make_bins(lengths: Int[np.ndarray, " rows"], batch_size: int, size: int) -> Bins:
    """Bins that hold every batch of `plan_strata`, by first-fit decreasing.

    Args:
      lengths: tokens of each row.
      batch_size: rows of a batch.
      size: tokens of a bin.

    Raises:
      UserError: a row does not fit a bin.
    """
    if lengths.max() > size:
        raise UserError(
            f"config.batch.packing is {size}: expected at least {lengths.max()}, the tokens of row "
            f"{lengths.argmax()}; raise it or lower task.max_length"
        )
    longest = [int(lengths[rows].max(initial=0)) for rows in _strata(lengths, batch_size)]
    bins: list[list[int]] = []
    for row in sorted(range(batch_size), key=lambda row: -longest[row]):
        free = (x for x in bins if sum(longest[y] for y in x) + longest[row] <= size)
        if (found := next(free, None)) is None:
            bins.append(found := [])
        found.append(row)
    return Bins(size, int(lengths.max()), tuple(map(tuple, bins)))


def plan_strata(
    lengths: Int[np.ndarray, " rows"], batch_size: int, seed: int, epoch: int
) -> Int[np.ndarray, "batches batch"]:
    """The rows of an epoch's batches: each once, one of each stratum, -1 where there is none.

    Args:
      lengths: tokens of each row.
      batch_size: rows of a batch.
      seed: of the run.
      epoch: counted from 0; each has its own permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    strata = _strata(lengths, batch_size, rng.permutation(len(lengths)))
    batches = len(strata[-1])
    plan = np.full((batch_size, batches), -1, np.int64)
    for place, rows in zip(plan, strata, strict=True):
        place[: len(rows)] = rows
        rng.shuffle(place)
    return plan.T


def _strata(
    lengths: Int[np.ndarray, " rows"],
    count: int,
    order: Int[np.ndarray, " rows"] | None = None,
) -> list[Int[np.ndarray, " some"]]:
    """Rows from short to long in groups of one size, but for the first, which has what is left.

    Args:
      lengths: tokens of each row.
      count: of groups; the first are empty where there are very few rows.
      order: of rows of one length.
    """
    order = np.arange(len(lengths)) if order is None else order
    order = order[np.argsort(lengths[order], kind="stable")]
    size = -(-len(lengths) // count)
    ends = np.maximum(len(lengths) - size * np.arange(count + 1)[::-1], 0)
    return [order[start:end] for start, end in zip(ends, ends[1:], strict=False)]
