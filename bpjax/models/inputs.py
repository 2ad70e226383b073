"""What a model or its head wants of a batch: arrays by name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

INPUT_IDS = "input_ids"
"""Tokens of a row, `[length]`; where there are such, what is padded goes by them."""

TOKEN_TYPES = "token_type_ids"
"""The segment of each token; 0, the first, where the features do not say."""

ATTENTION_MASK = "attention_mask"
"""1 at the real tokens of a row, 0 at padding."""

DECODER_MASK = "decoder_attention_mask"
"""The same of the text that a decoder writes."""

LENGTH, TARGET_LENGTH = "length", "target_length"
"""Words in the shape of an array for lengths that differ by row: those of what is read, and of what
a decoder writes."""

PACKED = "packed"
"""Which tokens of a batch's rows lie where in bins, see `layers.packing.Packing.tokens`; where a
batch has it, the layers of a model compute the bins."""

WEIGHT = "weight"
"""Of each row in means; 0 for rows that only fill a batch up."""

INDEX = "index"
"""The row of the features that a row of the batch is; -1 for one that fills it up."""

LABEL = "label"
"""What most heads learn: a class, a score, a class a token, or the tokens that a decoder writes."""

START, END = "start_position", "end_position"
"""What a span head learns: the first token of the answer, and its last."""

TEACHER_LOGITS = "teacher_logits"
"""What a teacher says of a batch, where it was asked before: `training.teacher_logits`."""


class Input(NamedTuple):
    """One array of a batch.

    Tokens are `Input("input_ids", ("length",), below=30522)`, those that a decoder writes
    `Input("label", ("target_length",), fill=-100, below=50265)`, and an image is
    `Input("pixel_values", (3, 224, 224), "float32")`.

    Attributes:
      name: its key in the batch.
      shape: of one row; a word stands for a length that differs by row, which is padded: `()` is
        one number a row, `("length",)` one a token.
      dtype: of its numbers.
      fill: what stands at padding where the model was made; real tokens are never this one.
      below: random values for timing are drawn below it; 0 where the model has no use for it, None
        where they are no numbers of something: pixels, or a mask.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: str = "int32"
    fill: int = 0
    below: int | None = None

    @property
    def is_mask(self) -> bool:
        """Whether it is 1 at all that is real, and 0 at padding."""
        return self.below is None and not np.issubdtype(self.dtype, np.floating)


def source_inputs(inputs: Sequence[Input]) -> tuple[Input, ...]:
    """Of a model's inputs those that it reads before it writes."""
    return tuple(each for each in inputs if TARGET_LENGTH not in each.shape)


def common(inputs: Sequence[Sequence[Input]]) -> tuple[Input, ...]:
    """Inputs that several models take alike: the smallest vocabulary of each name."""
    first, *others = inputs
    found = []
    for each in first:
        same = [other for rest in others for other in rest if other.name == each.name]
        limits = [x.below for x in (each, *same) if x.below is not None]
        found.append(each._replace(below=min(limits) if limits else None))
    return tuple(found)
