"""The fill stage: the shrunken model, dense now, is fine-tuned with the same distillation."""

from pathlib import Path
from typing import Any

from bpjax.config import RunConfig
from bpjax.errors import UserError
from bpjax.models import describe
from bpjax.pruning.fill import fill as fill_zeros
from bpjax.stages.base import FILL_NOISE, Artefacts, Inputs, Stage, stream
from bpjax.stages.opened import save_model
from bpjax.stages.recipe import check_warmup, open_teacher, refusals
from bpjax.stages.removal import removal_of
from bpjax.stages.train import train


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Fills the zeros inside what is left with small weights, and trains all of it."""
    model, params = inputs.finished(artefacts["model"], dtype=config.model.dtype)
    trained = train(
        inputs,
        config,
        FILL,
        config.fill,
        folder,
        model=model,
        params=fill_zeros(params, describe(model), stream(config.seed, FILL_NOISE)),
        teacher=open_teacher(inputs, config, FILL.name, artefacts["dense"]),
    )
    save_model(folder, model, trained.state.params, inputs.tokenizer)
    return trained.notes


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a warm-up as long as the stage, and states that a narrower model does not have."""
    check_warmup("fill", config.fill, inputs.steps_per_epoch(config.batch))
    weight = config.distillation.hidden.fill
    if not weight:
        return
    model, _ = inputs.pretrained(config.model, config.seed)
    with refusals():
        removal = removal_of(config, model)
    if removal.narrows:
        raise UserError(
            f"config.distillation.hidden.fill is {weight}: expected 0, for {removal.pattern.name} "
            "leaves fewer dimensions of the hidden state than the teacher has; set it, or "
            "distillation.layers.fill in its place"
        )


FILL = Stage(
    name="fill",
    number=3,
    run=run,
    takes=("model", "dense"),
    makes="model",
    wanted=lambda config: config.fill.epochs > 0,
    check=check,
    plan=lambda inputs, config: config.fill.epochs * inputs.steps_per_epoch(config.batch),
)
