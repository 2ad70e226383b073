"""The quantize stage: weights and inputs of few bits, trained for or not, and integers compared.

The model is trained, or only measured, with rounded numbers held as floats. What is saved holds
integers. Both must say the same of every example, as before and after removal.
"""

import functools
import time
from pathlib import Path
from typing import Any

from bpjax.config import RunConfig
from bpjax.models.heads import HEADS
from bpjax.models.quantize import PRESETS, round_params
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.equivalence import compare
from bpjax.stages.evaluator import evaluator_of
from bpjax.stages.opened import save_model
from bpjax.stages.recipe import check_warmup
from bpjax.stages.train import train
from bpjax.training.terms import Teacher


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Rounds the small model; with epochs it first learns from the float one."""
    section, distillation = config.quantize, config.distillation
    model, params = inputs.finished(artefacts["model"], dtype=config.model.dtype)
    quantized = model.replace(quantization=PRESETS[section.preset])
    notes: dict[str, Any] = {"seconds": 0.0}
    if section.epochs:
        trained = train(
            inputs,
            config,
            QUANTIZE,
            section,
            folder,
            model=quantized,
            params=params,
            teacher=Teacher(model, params, distillation.weight, distillation.temperature),
        )
        params, notes = trained.state.params, trained.notes
    started = time.perf_counter()
    integers = round_params(quantized, params)
    save_model(folder, quantized, integers, inputs.tokenizer)
    rows = functools.partial(evaluator_of(inputs, config).rows, quantized, as_written=True)
    found = compare(HEADS[model.head], rows(params), rows(integers))
    notes["seconds"] += time.perf_counter() - started
    return {**notes, "equivalence": found.notes}


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a warm-up as long as the stage."""
    if config.quantize.epochs:
        check_warmup("quantize", config.quantize, inputs.steps_per_epoch(config.batch))


QUANTIZE = Stage(
    name="quantize",
    number=6,
    run=run,
    takes=("model",),
    makes="quantized",
    wanted=lambda config: config.quantize.preset != "none",
    check=check,
    plan=lambda inputs, config: config.quantize.epochs * inputs.steps_per_epoch(config.batch),
    report=lambda notes: {"quantized_equivalence": notes["equivalence"]},
)
