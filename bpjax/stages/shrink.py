"""The shrink stage: what died is removed, and the small model compared with the masked one."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.config import RunConfig
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.pruning import surgery
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.evaluator import Evaluator
from bpjax.stages.masked import Masked, read_masked
from bpjax.stages.opened import save_model


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Removes what died, and compares the small model with the masked one, example by example."""
    started = time.perf_counter()
    evaluator = Evaluator(inputs, config.batch)
    masked = read_masked(inputs, config, artefacts["masked"])
    smaller, params = remove(masked, config.shrink.round_to)
    save_model(folder, smaller, params, inputs.tokenizer)

    before = evaluator.predict(masked.model, masked.params, masked.masks)
    after = evaluator.predict(smaller, params)
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


def remove(masked: Masked, round_to: int) -> tuple[BertConfig, dict]:
    """The small model.

    Args:
      masked: what it is made of.
      round_to: a layer keeps a multiple of as many feed-forward dimensions.

    Returns:
      Its config and parameters.
    """
    model, values = masked.model, masked.values
    small = surgery.shrink(
        apply_masks(masked.params, masked.masks),
        masked.structure,
        bert.activation(model),
        round_to=round_to,
        rank_by=masked.params,
        hidden=kept_units(masked.structure, masked.pattern, values).hidden,
    )
    smaller = model.replace(
        heads=small.heads,
        intermediate=small.intermediate,
        hidden_size=len(small.kept_hidden),
        pooler_size=model.pooled,
        original=(model.heads, model.intermediate, model.hidden_size),
    )
    return smaller, small.params


SHRINK = Stage(
    name="shrink",
    number=2,
    run=run,
    takes=("masked",),
    makes="model",
    report=lambda notes: {"shrunken": notes["metrics"], "equivalence": notes["equivalence"]},
)
