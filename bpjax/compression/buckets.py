"""Lengths to pad rows to: few, for a program is compiled for each, and close to the rows' own."""

import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from bpjax.training.input import plan_epoch
from bpjax.training.packing import make_bins

STEP = 8
"""Of which lengths are multiples: a machine's products are not faster in between."""

MOST = 4
LEAST_SAVING = 0.05
"""Of all tokens, that one more length must save."""

BINS = (1.0, 1.25, 1.5, 2.0, 3.0)
"""Sizes of bins that are tried, in lengths of the longest row."""

ATTENTION = 600
"""Length at which attention doubles a token's cost: 5 rows of 96 took 1.11 times 32 rows of 15."""


def choose_buckets(lengths: Int[np.ndarray, " rows"]) -> tuple[int, ...]:
    """The lengths with the fewest tokens in all, padding included.

    Args:
      lengths: tokens of each row.

    Returns:
      Up to `MOST` of them, rising; the last holds the longest row.
    """
    ends = STEP * np.arange(-(-int(lengths.max()) // STEP) + 1)
    rows = np.searchsorted(np.sort(lengths), ends, side="right")  # that are no longer
    # Of the rows up to each end: tokens, and the buckets that gives them.
    tokens = (ends * rows).astype(float)
    chosen = [(int(end),) for end in ends]
    best = float(tokens[-1]), chosen[-1]
    for _ in range(1, MOST):
        after, more = np.zeros_like(tokens), chosen[:1]
        for i in range(1, len(ends)):
            with_one_more = tokens[:i] + ends[i] * (rows[i] - rows[:i])
            j = int(np.argmin(with_one_more))
            after[i] = with_one_more[j]
            more.append((*(chosen[j] if j else ()), int(ends[i])))
        tokens, chosen = after, more
        if tokens[-1] > (1 - LEAST_SAVING) * best[0]:
            break
        best = float(tokens[-1]), chosen[-1]
    return best[1]


def choose_packing(
    lengths: Int[np.ndarray, " rows"], batch_size: int, buckets: Sequence[int]
) -> int:
    """The bins that cost least, in tokens of one step; 0 where padding to buckets costs less.

    Args:
      lengths: tokens of each row to train on.
      batch_size: rows of a batch.
      buckets: that the rows would be padded to.
    """

    def cost(tokens: int, length: int) -> float:
        return tokens * (1 + length / ATTENTION)

    epoch = plan_epoch(lengths, batch_size, buckets, seed=0, epoch=0)
    padded = [cost(batch_size * plan.bucket, plan.bucket) for plan in epoch]
    best, chosen = statistics.fmean(padded), 0
    longest = -(-int(lengths.max()) // STEP)
    for size in (STEP * round(times * longest) for times in BINS):
        slots = len(make_bins(lengths, batch_size, size).rows) * size
        if cost(slots, size) < best:
            best, chosen = cost(slots, size), size
    return chosen
