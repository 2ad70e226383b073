"""How a config prunes and trains: pure functions of its sections and a model's structure."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import optax

from bpjax.config import RunConfig
from bpjax.config.sections import DistillationSection, PruningSection, TrainingSection
from bpjax.errors import UserError
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.heads import HEADS
from bpjax.pruning.budget import within_budget
from bpjax.pruning.keep_heads import keep_heads_of
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.base import Method
from bpjax.pruning.schedules import cubic
from bpjax.stages.base import Inputs
from bpjax.stages.budget_file import Budget
from bpjax.stages.earlier import kept_heads
from bpjax.stages.removal import Removal, removal_of
from bpjax.training.approximations import NAMES
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe
from bpjax.training.step import Step, make_train_step
from bpjax.training.terms import TERMS, Teacher

START_PENALTY = 1800.0
"""λ that a budget starts from, times the root of the number of steps.

Found by trial: 20 does for 8,000 steps; where there are fewer, scores have to move faster.
"""


def approximations_of(pruning: PruningSection) -> tuple[str, ...]:
    """The cheaper operations that fine-pruning trains in: some of `approximations.NAMES`."""
    return tuple(name for name in NAMES if getattr(pruning, name))


def method_of(pruning: PruningSection, rewind: str, removal: Removal) -> Method:
    """The pruning method, over a model's pattern.

    Args:
      pruning: gives the method and its options.
      rewind: workdir of a run whose heads are held; empty for none.
      removal: of what it masks.

    Raises:
      ValueError: a value that the method refuses, or a method that cannot hold heads.
      UserError: no run to rewind from.
    """
    structure, pattern, _ = removal
    method = make_method(pruning.method, pattern, **pruning.options)
    if rewind and method.priced:
        raise ValueError(
            f"rewind is {rewind!r}: expected nothing, for {pruning.method} finds by itself what to "
            "keep at a cost"
        )
    if rewind:
        method = keep_heads_of(method, pattern, structure, kept_heads(rewind, structure))
    return method


def pruning_of(
    config: RunConfig, model: Config, epoch: int, budget: Budget | None = None
) -> Pruning:
    """How the prune stage prunes a model.

    Args:
      config: of the run.
      model: before pruning.
      epoch: steps of an epoch.
      budget: what may be left; None where the config gives the penalty instead.

    Raises:
      ValueError: a schedule without steps to move in, or a value that the method refuses.
      UserError: no run to rewind from.
    """
    options, prune = config.pruning, config.prune
    steps = max(1, prune.epochs * epoch)
    removal = removal_of(config, model)
    method = method_of(options, prune.rewind, removal)
    if budget:
        if method.priced:
            method = removal.priced(method, budget.cost)
        else:
            fraction_of = removal.fraction(budget.cost)
            method = within_budget(method, fraction_of, budget.fraction, steps)
    penalty = START_PENALTY / math.sqrt(steps) if budget else config.budget.value
    schedule = cubic(
        steps=steps,
        warmup_steps=prune.warmup_steps if prune.epochs else 0,
        initial_warmup=options.initial_warmup,
        final_warmup=options.final_warmup,
        threshold=(options.threshold_initial, options.threshold_final),
        density=(1.0, budget.fraction if budget else 1.0),
        penalty=penalty if method.penalized else 0.0,
    )
    return Pruning(method, removal.pattern, schedule, approximations_of(options))


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What pattern, method or schedule refuse is the user's mistake.

    Raises:
      UserError: in place of their ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise UserError(f"config.pruning or config.prune: {error}") from error


def teacher_of(
    distillation: DistillationSection, stage: str, model: Config, params: dict
) -> Teacher:
    """A model as the teacher of prune or fill, with the config's weights."""
    weights = {name: weights_of(distillation, name).get(stage, 0.0) for name in TERMS}
    return Teacher(
        model,
        params,
        distillation.weight,
        distillation.temperature,
        replace=getattr(distillation.replace, stage),
        terms=tuple((weight, name) for name, weight in weights.items() if weight),
    )


def open_teacher(inputs: Inputs, config: RunConfig, stage: str, dense: Path) -> Teacher:
    """The teacher of prune or fill: that of `distillation.source`, else the dense model."""
    source = config.distillation.source or dense
    found = inputs.finished(source, dtype=config.model.dtype)
    return teacher_of(config.distillation, stage, *found)


def weights_of(distillation: DistillationSection, term: str) -> dict[str, float]:
    """The weights of a term that is added to the loss, by stage; empty of one that is not."""
    section = getattr(distillation, term, None)
    return dataclasses.asdict(section) if section else {}


def keeps_logits(distillation: DistillationSection, teacher: Teacher | None) -> bool:
    """Whether the teacher's logits are computed once, and not in every step."""
    if not teacher or teacher.replace:
        return False
    # Those of a whole vocabulary take more room than time.
    return bool(distillation.cache) and not HEADS[teacher.config.head].vocabulary


def optimizer_of(section: TrainingSection, steps: int) -> optax.GradientTransformation:
    """The optimizer of a stage of so many steps."""
    return make_optimizer(
        steps=steps,
        warmup_steps=section.warmup_steps,
        learning_rate=section.learning_rate,
        score_learning_rate=getattr(section, "score_learning_rate", 0.0),
        weight_decay=section.weight_decay,
        clip=section.clip,
    )


def step_of(
    inputs: Inputs,
    config: RunConfig,
    model: Config,
    pruning: Pruning,
    optimizer: optax.GradientTransformation,
    teacher: Teacher | None,
) -> Step:
    """A training step in the config's compute types, over all devices."""
    options = config.model
    return make_train_step(
        Recipe(
            model.replace(dtype=options.training_dtype, remat=options.remat),
            describe(model),
            HEADS[inputs.task.head],
            pruning,
            optimizer,
            teacher,
            inputs.layout,
            config.batch.accumulate,
            options.params_dtype,
        )
    )


def check_distillation(inputs: Inputs, config: RunConfig) -> None:
    """Finds what the teacher and the model cannot be compared in.

    Raises:
      UserError: hidden states or attention scores of other shapes.
    """
    options, source = config.distillation, config.model.source
    teacher = options.source or config.teacher.source
    ours, _ = inputs.pretrained(config.model, config.seed)
    theirs = inputs.finished(teacher)[0] if teacher else ours
    pair = describe(ours), describe(theirs)
    head = inputs.task.head
    for name, term in TERMS.items():
        asked = any(weights_of(options, name).values())
        if asked and term.heads is not None and head not in term.heads:
            raise UserError(
                f"config.distillation.{name}: task {inputs.task.name} has a {head} head: expected "
                f"{' or '.join(term.heads)}; set its weight to 0"
            )
        if asked and (told := term.fits(*pair)):
            raise UserError(
                f"config.distillation.{name}: {teacher or source} {told}; set its weight to 0, or "
                "learn from a model of that shape"
            )


def check_warmup(name: str, section: TrainingSection, epoch: int) -> None:
    """Refuses a warm-up as long as the stage.

    Raises:
      UserError: it is.
    """
    if section.warmup_steps >= section.epochs * epoch:
        raise UserError(
            f"config.{name}.warmup_steps is {section.warmup_steps}: expected fewer than the "
            f"{section.epochs * epoch} steps of the stage; lower it or take more epochs"
        )
