"""Lengths to pad rows to: few, for a program is compiled for each, and close to the rows' own."""

import numpy as np
from jaxtyping import Int

STEP = 8
"""Of which lengths are multiples: a machine's products are not faster in between."""

MOST = 4
LEAST_SAVING = 0.05
"""Of all tokens, that one more length must save."""


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
