"""What the stages that train have in common: one loop over one kind of step."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bpjax.config import RunConfig
from bpjax.config.sections import TrainingSection
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.schedules import cubic
from bpjax.stages.base import Inputs, Stage, row_seed, stream
from bpjax.stages.evaluator import evaluator_of
from bpjax.stages.plan import step_bytes
from bpjax.stages.recipe import keeps_logits, optimizer_of, step_of
from bpjax.training.evaluation import Batch
from bpjax.training.input import Batching, train_batches
from bpjax.training.loop import fit
from bpjax.training.mesh import gather
from bpjax.training.state import Pruning, TrainState, init_state
from bpjax.training.teacher_logits import cached_logits
from bpjax.training.terms import Teacher, init_learned


class Trained(NamedTuple):
    """A stage at its end.

    Attributes:
      state: after the last step, whole in every process.
      metrics: of that state.
      notes: what the report tells: `seconds`; `waiting` and `compiling`, the fractions of them in
        which the step waited for data and programs were compiled; `step_bytes`, memory of a step on
        the longest rows on each device.
    """

    state: TrainState
    metrics: dict[str, float]
    notes: dict[str, Any]


def train(
    inputs: Inputs,
    config: RunConfig,
    stage: Stage,
    section: TrainingSection,
    folder: Path,
    *,
    model: Config,
    params: dict,
    pruning: Pruning | None = None,
    teacher: Teacher | None = None,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
) -> Trained:
    """Trains one stage.

    Args:
      inputs: data.
      config: of the run.
      stage: whose name its scalars and checkpoints bear, and whose number its random numbers have.
      section: how it trains.
      folder: of the stage, in the workdir.
      model: the student's config.
      params: to start from; they are copied.
      pruning: method, pattern and schedule; None trains without masks.
      teacher: to distil from.
      evaluate: metrics of a state; by default those of its parameters.

    Raises:
      UserError: the cache of the teacher's logits cannot be used.
      Interrupted: the run was asked to end; a checkpoint is saved.
    """
    evaluator, layout, batch = evaluator_of(inputs, config), inputs.layout, config.batch
    epoch = inputs.steps_per_epoch(batch)
    steps = epoch * section.epochs
    optimizer = optimizer_of(section, steps)
    pruning = pruning or Pruning(dense(), NO_PATTERN, cubic(steps=steps, warmup_steps=0))
    # Each stage has its own stream of dropout and its own order of rows.
    number = stage.number
    assert number is not None, f"stage {stage.name} trains and so draws: give it a number"
    rng, logits = stream(config.seed, number), None
    if teacher and keeps_logits(config.distillation, teacher):
        path = folder.parent / config.distillation.cache
        logits = cached_logits(teacher, inputs.train, evaluator.batching, path, layout)
    part = layout.part(batch.size)
    batching = Batching(batch.size, batch.buckets, part, batch.target_buckets, batch.packing)
    learned = init_learned(teacher, describe(model), describe(teacher.config)) if teacher else None
    state = init_state(params, pruning, optimizer, rng, learned)
    for name in layout.undivided(params):
        tqdm.write(f"{name}: fsdp does not divide it, every device holds it whole")
    state = layout.shard(state)

    def batches(start: int) -> Iterator[Batch]:
        seed = row_seed(config.seed, number)
        found = train_batches(inputs.train, batching, seed, section.epochs, start)
        return logits.attach(found) if logits else found

    def metrics(state: TrainState) -> dict[str, float]:
        beams = config.generation.training_beams
        return evaluator.metrics(model, state.params, beams=beams)

    step = step_of(inputs, config, model, pruning, optimizer, teacher)
    fitted = fit(
        stage.name,
        state,
        step,
        batches,
        steps=steps,
        workdir=folder.parent,
        evaluate=evaluate or metrics,
        evaluate_every=config.evaluate_every or epoch,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
    )
    notes = {
        "seconds": fitted.seconds,
        "waiting": fitted.waiting,
        "compiling": fitted.compiling,
        "step_bytes": step_bytes(inputs, config, step, fitted.state, teacher),
    }
    state = fitted.state
    state = state._replace(params=gather(state.params), method=gather(state.method))
    return Trained(state, fitted.metrics, notes)
