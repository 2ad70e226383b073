"""The shrink stage: what died is removed, and the small model compared with the masked one."""

import time
from pathlib import Path
from typing import Any

from bpjax.config import RunConfig
from bpjax.models.heads import HEADS
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.equivalence import compare
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

    masked = evaluator.rows(model, params, removal.masks(values))
    found = compare(HEADS[smaller.head], masked, evaluator.rows(smaller, small))
    return {
        "seconds": time.perf_counter() - started,
        "metrics": evaluator.evaluate(found.outputs or evaluator.answers(smaller, small)),
        "equivalence": found.notes,
    }


SHRINK = Stage(
    name="shrink",
    number=2,
    run=run,
    takes=("masked",),
    makes="model",
    report=lambda notes: {"shrunken": notes["metrics"], "equivalence": notes["equivalence"]},
)
