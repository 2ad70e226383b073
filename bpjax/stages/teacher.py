"""The teacher stage: the dense model that is compared with and, by default, distilled from."""

import time
from pathlib import Path
from typing import Any

from bpjax.config import RunConfig
from bpjax.errors import UserError
from bpjax.models.heads import HEADS
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.opened import has_head, save_model, saved_head
from bpjax.stages.recipe import check_warmup
from bpjax.stages.train import train


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Fine-tunes the pretrained model on the task; with 0 epochs takes it as it comes."""
    model, params = inputs.pretrained(config.model, config.seed)
    if not config.teacher.epochs:
        started = time.perf_counter()
        save_model(folder, model, params, inputs.tokenizer)
        return {"seconds": time.perf_counter() - started}
    section = config.teacher
    trained = train(inputs, config, TEACHER, section, folder, model=model, params=params)
    save_model(folder, model, trained.state.params, inputs.tokenizer)
    return trained.notes


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a warm-up as long as the stage, and what cannot be trained or has to be.

    Raises:
      UserError: there are no labels, or with 0 epochs no head for the task.
    """
    epochs, source, task = config.teacher.epochs, config.model.source, inputs.task
    if epochs and not HEADS[task.head].loss:
        raise UserError(
            f"config.teacher.epochs is {epochs}: expected 0, for task {task.name} has no labels to "
            "train on and learns from the model as it comes; set it"
        )
    if not epochs and not has_head(task, saved_head(source)):
        raise UserError(
            f"config.teacher.epochs is 0: expected 1 or more, for {source} has no head for task "
            f"{task.name}; raise it, or choose a model that was fine-tuned on the task"
        )
    if epochs:
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
