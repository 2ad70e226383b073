"""The shrink stage: what died is removed, and the small model compared with the masked one."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.config import RunConfig
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.evaluator import Evaluator
from bpjax.stages.masked import read_masked
from bpjax.stages.opened import save_model


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Removes what died, and compares the small model with the masked one, example by example."""
    started = time.perf_counter()
    evaluator = Evaluator(inputs, config.batch)
    model, params, values, removal = read_masked(inputs, config, artefacts["masked"])
    smaller, small = removal.cut(model, params, values)
    save_model(folder, smaller, small, inputs.tokenizer)

    before = evaluator.predict(model, params, removal.masks(values))
    after = evaluator.predict(smaller, small)
    differences = [float(np.abs(x - y).max()) for x, y in zip(before, after, strict=True)]
    flipped = None
    if smaller.head != "regression":
        pairs = zip(before, after, strict=True)
        flipped = sum(bool((x.argmax(0) != y.argmax(0)).any()) for x, y in pairs)
    return {
        "seconds": time.perf_counter() - started,
        "metrics": evaluator.evaluate(after),
        "equivalence": {
            "max_abs_diff": max(differences),
            "examples": len(differences),
            "predictions_changed": flipped,
        },
    }


SHRINK = Stage(
    name="shrink",
    number=2,
    run=run,
    takes=("masked",),
    makes="model",
    report=lambda notes: {"shrunken": notes["metrics"], "equivalence": notes["equivalence"]},
)
