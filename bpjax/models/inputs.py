"""What a model or its head wants of a batch: arrays by name."""

from typing import NamedTuple


class Input(NamedTuple):
    """One array of a batch.

    Attributes:
      name: its key in the batch.
      shape: of one row; a word stands for a length that differs by row, which is padded: `()` is
        one number a row, `("length",)` one a token.
      dtype: of its numbers.
      fill: what stands at padding.
      below: random values for timing are drawn below it; None where none are drawn.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: str = "int32"
    fill: int = 0
    below: int | None = None
