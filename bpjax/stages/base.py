"""What all stages share: their streams of random numbers."""

import jax
from jaxtyping import Array, Key

STREAMS = 5
"""Between the row orders of two seeds. Frozen: it does not count stages."""

NUMBERS = {"teacher": 0, "prune": 1, "shrink": 2, "fill": 3, "measure": 4}
"""Of the stages' random streams; never changed. New stages number from 6."""

FILL_NOISE = 5
"""Number of the stream that `fill` draws from where weights are zero."""


def stream(seed: int, number: int) -> Key[Array, ""]:
    """The key of a stage's random numbers, such as its dropout."""
    return jax.random.fold_in(jax.random.key(seed), number)


def row_seed(seed: int, number: int) -> int:
    """The seed of a stage's order of rows.

    From number `STREAMS` on it is also that of another stage with the next seed, which is harmless.
    """
    return seed * STREAMS + number
