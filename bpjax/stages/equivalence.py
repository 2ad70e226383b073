"""Whether two models say the same of every example: proof of a step that is to change nothing."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bpjax.models.heads import Head

Rows = Iterable[tuple[int, np.ndarray]]
"""Outputs as a model computes them, each with the number of its row."""


class Equivalence(NamedTuple):
    """What a comparison found.

    Attributes:
      notes: `max_abs_diff` of the outputs; `examples`, how many; `predictions_changed`, in how many
        rows another prediction was made, None of a head without predictions.
      outputs: of the second model, in the order of the rows; none of a head that writes texts,
        whose outputs over a vocabulary have no room in memory.
    """

    notes: dict[str, Any]
    outputs: list[np.ndarray]


def compare(head: Head, before: Rows, after: Rows) -> Equivalence:
    """Compares two models row by row.

    Args:
      head: of both.
      before: outputs of one.
      after: outputs of the other, of the same rows in the same order.
    """
    kept: dict[int, np.ndarray] = {}
    differences, changed = [], 0
    for (_, x), (number, y) in zip(before, after, strict=True):
        differences.append(float(np.abs(x - y).max()))
        changed += predictions_changed(head, [x], [y]) or 0
        kept |= {} if head.generates else {number: y}
    notes = {
        "max_abs_diff": max(differences),
        "examples": len(differences),
        "predictions_changed": changed if head.decide else None,
    }
    return Equivalence(notes, [kept[number] for number in sorted(kept)])


def predictions_changed(
    head: Head, before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> int | None:
    """In how many rows two models predict something else; None of a head without predictions.

    Args:
      head: of both.
      before: outputs of one, a row each.
      after: outputs of the other, of the same rows.
    """
    if not head.decide:
        return None
    pairs = zip(before, after, strict=True)
    return sum(bool((head.decide(x) != head.decide(y)).any()) for x, y in pairs)
