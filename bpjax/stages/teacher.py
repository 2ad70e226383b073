"""The teacher stage: the dense model that is compared with and, by default, distilled from."""

from pathlib import Path
from typing import Any

from bpjax.config import RunConfig
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.opened import save_model
from bpjax.stages.recipe import check_warmup
from bpjax.stages.train import train


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Fine-tunes the pretrained model on the task."""
    model, params = inputs.pretrained(config.model, config.seed)
    section = config.teacher
    trained = train(inputs, config, TEACHER, section, folder, model=model, params=params)
    save_model(folder, model, trained.state.params, inputs.tokenizer)
    return trained.notes


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a warm-up as long as the stage."""
    check_warmup("teacher", config.teacher, inputs.steps_per_epoch(config.batch))


TEACHER = Stage(
    name="teacher",
    number=0,
    run=run,
    makes="dense",
    wanted=lambda config: not config.teacher.source,
    check=check,
    plan=lambda inputs, config: config.teacher.epochs * inputs.steps_per_epoch(config.batch),
)
