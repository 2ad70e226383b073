"""The shrink stage: what died is removed, and the small model compared with the masked one."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.config import RunConfig
from bpjax.models.heads import HEADS, Head
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.evaluator import evaluator_of
from bpjax.stages.masked import read_masked
from bpjax.stages.opened import save_model


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Removes what died, and compares the small model with the masked one, example by example."""
    started = time.perf_counter()
    evaluator = evaluator_of(inputs, config)
    model, params, values, removal = read_masked(inputs, config, artefacts["masked"])
    smaller, small = removal.cut(model, params, values)
    save_model(folder, smaller, small, inputs.tokenizer)

    # Row by row: the outputs of all rows over a whole vocabulary have no room in memory.
    before = evaluator.rows(model, params, removal.masks(values))
    after, head = evaluator.rows(smaller, small), HEADS[smaller.head]
    kept: dict[int, np.ndarray] = {}
    differences, changed = [], 0
    for (_, x), (number, y) in zip(before, after, strict=True):
        differences.append(float(np.abs(x - y).max()))
        changed += predictions_changed(head, [x], [y]) or 0
        kept |= {} if head.generates else {number: y}
    found = [kept[i] for i in sorted(kept)] if kept else evaluator.answers(smaller, small)
    return {
        "seconds": time.perf_counter() - started,
        "metrics": evaluator.evaluate(found),
        "equivalence": {
            "max_abs_diff": max(differences),
            "examples": len(differences),
            "predictions_changed": changed if head.decide else None,
        },
    }


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


SHRINK = Stage(
    name="shrink",
    number=2,
    run=run,
    takes=("masked",),
    makes="model",
    report=lambda notes: {"shrunken": notes["metrics"], "equivalence": notes["equivalence"]},
)
