"""What every stage reads: config, task, data, and the models they start from."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from bpjax.config import same
from bpjax.errors import UserError
from bpjax.measure.latency import parse_shapes
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.heads import HEADS
from bpjax.models.tokenizer import check_same_vocabulary, check_vocabulary, load_tokenizer
from bpjax.pruning.budget import within_budget
from bpjax.pruning.keep_heads import keep_heads_of
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Pattern, make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.pruning.structure import Structure
from bpjax.stages.budget import Budget, plan_budget
from bpjax.tasks import get_task
from bpjax.tasks.base import Features, Task, take
from bpjax.training.approximations import NAMES
from bpjax.training.evaluation import Batch, predict
from bpjax.training.input import eval_batches, resolve_buckets, steps_per_epoch
from bpjax.training.mesh import Layout, make_layout
from bpjax.training.step import Pruning, Recipe, Step, make_train_step
from bpjax.training.terms import TERMS, Teacher
from bpjax.workdir import earlier_run, load_arrays

START_PENALTY = 1800.0
"""λ that a budget starts from, times the root of the number of steps.

Found by trial: 20 does for 8,000 steps; where there are fewer, scores have to move faster.
"""


class Run(NamedTuple):
    """What every stage reads: the config, the task and its two splits, tokenised."""

    config: Any
    task: Task
    tokenizer: Any
    train: Features
    evaluation: Features
    layout: Layout

    @property
    def eval_size(self) -> int:
        """Rows of a batch to evaluate on: a size that the devices divide."""
        return self.layout.round_up(self.config.batch.eval_size)

    def predict(self, model: Config, params: dict, masks: dict | None = None) -> list[np.ndarray]:
        """Logits of the evaluation split, a row each."""
        part = self.layout.part(self.eval_size)
        batches = eval_batches(self.evaluation, self.eval_size, self.config.batch.buckets, part)
        return predict(model, params, batches, masks, self.layout)

    def metrics(self, model: Config, params: dict, masks: dict | None = None) -> dict[str, float]:
        """The task's metrics on the evaluation split, in percent."""
        return self.task.evaluate(self.evaluation, self.predict(model, params, masks))

    def calibration_batches(self) -> Iterator[Batch]:
        """The training rows that activations are measured on, spread over the split."""
        batch, train = self.config.batch, self.train
        count = min(self.config.prune.calibration_rows, len(train.rows))
        kept = take(range(len(train.rows)), count)
        rows = Features([train.rows[i] for i in kept], [train.examples[i] for i in kept])
        return eval_batches(rows, batch.eval_size, batch.buckets)

    def approximations(self) -> tuple[str, ...]:
        """The cheaper operations that fine-pruning trains in: some of `approximations.NAMES`."""
        return tuple(name for name in NAMES if self.config.pruning[name])

    def keeps_logits(self, teacher: Teacher) -> bool:
        """Whether the teacher's logits are computed once, and not in every step."""
        return bool(self.config.distillation.cache and not teacher.replace)

    def shapes(self) -> list[tuple[int, int]]:
        """Batch and length that are timed at the end, a budget's own among them."""
        budget = self.config.budget
        asked = (budget.shape,) if budget.kind == "speedup" else ()
        return parse_shapes(list(dict.fromkeys((*asked, *self.config.measure.shapes))))

    def steps_per_epoch(self) -> int:
        """Updates in one pass over the training rows."""
        return steps_per_epoch(len(self.train.rows), self.config.batch.size)

    def pretrained(self) -> tuple[Config, dict]:
        """The model before the task: what teacher and student both start from."""
        model, params = load_pretrained(
            self.config.model.source,
            head=self.task.head,
            num_labels=self.task.num_labels,
            dtype=self.config.model.dtype,
            rng=jax.random.key(self.config.seed),
        )
        check_vocabulary(self.tokenizer, model)
        return model, params

    def teacher(self, source: str | Path, stage: str) -> Teacher:
        """A finished model as the teacher of prune or fill."""
        found = load_pretrained(source, head="saved", dtype=self.config.model.dtype)
        return self.make_teacher(*found, stage)

    def make_teacher(self, model: Config, params: dict, stage: str) -> Teacher:
        """A model as the teacher of prune or fill, with the config's weights."""
        options = self.config.distillation
        weights = ((options[name].get(stage, 0.0), name) for name in TERMS if name in options)
        return Teacher(
            model,
            params,
            options.weight,
            options.temperature,
            replace=options.replace[stage],
            terms=tuple((weight, name) for weight, name in weights if weight),
        )

    def make_step(
        self,
        model: Config,
        pruning: Pruning,
        optimizer: optax.GradientTransformation,
        teacher: Teacher | None,
    ) -> Step:
        """A training step in the config's compute types, over all devices."""
        options = self.config.model
        model = model.replace(dtype=options.training_dtype, remat=options.remat)
        recipe = Recipe(
            model,
            describe(model),
            HEADS[self.task.head],
            pruning,
            optimizer,
            teacher,
            self.layout,
            self.config.batch.accumulate,
            options.params_dtype,
        )
        return make_train_step(recipe)

    def pattern(self, model: Config) -> Pattern:
        """The pattern, laid over this model.

        Raises:
          ValueError: a rule that fits no kernel.
        """
        options = self.config.pruning
        return make_pattern(options.pattern, describe(model), options.block, options.block_rules)

    def method(self, model: Config, pattern: Pattern) -> Method:
        """The pruning method, over the model's pattern.

        Raises:
          ValueError: a value that the method refuses.
          UserError: no run to rewind from.
        """
        options = self.config.pruning
        method = make_method(options.method, pattern, **options[options.method])
        if self.config.prune.rewind:
            structure = describe(model)
            kept = _kept_heads(Path(self.config.prune.rewind), structure)
            method = keep_heads_of(method, pattern, structure, kept)
        return method

    def plan_budget(self) -> dict[str, Any]:
        """Finds what the model may cost, unless the config gives the penalty instead.

        Raises:
          UserError: a budget that cannot be reached.
        """
        budget = self.config.budget
        if budget.kind == "penalty":
            return {"seconds": 0.0}
        model, params = self.pretrained()
        pattern = self.pattern(model)
        method, round_to = self.method(model, pattern), self.config.shrink.round_to
        return plan_budget(budget, model, params, method, pattern, round_to, self.approximations())

    def pruning(self, model: Config, budget: Budget | None = None) -> Pruning:
        """How the prune stage prunes this model.

        Args:
          model: before pruning.
          budget: what may be left; None where the config gives the penalty instead.

        Raises:
          ValueError: a schedule without steps to move in, or a value that the method refuses.
        """
        options = self.config.pruning
        steps = max(1, self.config.prune.epochs * self.steps_per_epoch())
        pattern = self.pattern(model)
        method = self.method(model, pattern)
        if budget:
            fraction_of = budget.fraction_of(model, pattern, self.config.shrink.round_to)
            method = within_budget(method, fraction_of, budget.fraction, steps)
        penalty = START_PENALTY / math.sqrt(steps) if budget else self.config.budget.value
        schedule = cubic(
            steps=steps,
            warmup_steps=self.config.prune.warmup_steps if self.config.prune.epochs else 0,
            initial_warmup=options.initial_warmup,
            final_warmup=options.final_warmup,
            threshold=(options.threshold_initial, options.threshold_final),
            density=(1.0, budget.fraction if budget else 1.0),
            penalty=penalty if method.penalized else 0.0,
        )
        return Pruning(method, pattern, schedule, self.approximations())


def _kept_heads(workdir: Path, structure: Structure) -> dict[str, Any]:
    """Which heads a finished run of the same model kept, by sublayer."""
    with earlier_run("prune.rewind", workdir, "a finished run of the same model") as config:
        options = config["pruning"]
        values = load_arrays(workdir / "prune" / "masks.safetensors")
        pattern = make_pattern(
            options["pattern"], structure, tuple(options["block"]), options["block_rules"]
        )
        if values.keys() != {group.name for group in pattern.groups}:
            raise ValueError("its model has other layers")
        units = kept_units(structure, pattern, values).units
        return {x.name: units[x.name] for x in structure.sublayers if x.kind == "attention"}


@contextlib.contextmanager
def fine_pruned(config: Any) -> Iterator[Path]:
    """Yields the prune stage's folder of the run that `prune.source` names, for the block to read.

    Raises:
      UserError: no such run, or one that pruned in another way.
    """
    workdir = Path(config.prune.source)
    kind = "a run that fine-pruned the same model in the same way"
    with earlier_run("prune.source", workdir, kind) as theirs:
        # Fields that it lacks have their defaults already.
        if not same(theirs["pruning"], json.loads(json.dumps(config.pruning.to_dict())), {}):
            raise ValueError("its config.pruning is another")
        yield workdir / "prune"


def prepare(config: Any) -> Run:
    """Reads and tokenises the data of a config.

    Raises:
      UserError: unknown task, missing or malformed data, no tokenizer.
    """
    task = get_task(**config.task)
    tokenizer = load_tokenizer(config.model.source)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    layout = make_layout(config.mesh.data, config.mesh.fsdp)
    return Run(config, task, tokenizer, train, evaluation, layout)


def check(run: Run) -> None:
    """Finds what would stop a later stage, before hours are spent on an earlier one.

    Raises:
      UserError: a vocabulary, head, length, schedule or budget that does not fit.
    """
    config = run.config
    model, params = run.pretrained()
    models = {config.model.source: model}
    for source in filter(None, (config.teacher.source, config.distillation.source)):
        models[source], _ = load_for(run.task, source, run.tokenizer)
        check_same_vocabulary(run.tokenizer, source)
    lengths = [length for _, length in run.shapes()]
    for features in (run.train, run.evaluation):
        buckets = resolve_buckets(features.lengths, config.batch.buckets)
        lengths.append(min(x for x in buckets if x >= features.lengths.max()))
    for source, found in models.items():
        if max(lengths) > found.max_positions:
            raise UserError(
                f"{max(lengths)} tokens in a row: expected at most {found.max_positions}, the "
                f"positions of {source}; lower task.max_length, batch.buckets or measure.shapes"
            )
    run.layout.part(config.batch.size)
    parts = config.batch.accumulate * run.layout.devices
    if config.batch.size % parts:
        raise UserError(
            f"config.batch.size is {config.batch.size}: expected a multiple of {parts}, "
            "batch.accumulate times the devices; change one of them"
        )
    _check_activations(run, models)
    epoch = run.steps_per_epoch()
    for name in ("teacher", "prune", "fill"):
        stage = config[name]
        trains = stage.epochs > 0 and not stage.get("source")
        if trains and stage.warmup_steps >= stage.epochs * epoch:
            raise UserError(
                f"config.{name}.warmup_steps is {stage.warmup_steps}: expected fewer than the "
                f"{stage.epochs * epoch} steps of the stage; lower it or take more epochs"
            )
    try:
        method, pattern, _, _ = run.pruning(model)
    except ValueError as error:
        raise UserError(f"config.pruning or config.prune: {error}") from error
    narrows = any(group.norms for group in pattern.groups)
    weight = config.distillation.hidden.fill
    if narrows and config.fill.epochs and weight:
        raise UserError(
            f"config.distillation.hidden.fill is {weight}: expected 0, for {pattern.name} leaves "
            "fewer dimensions of the hidden state than the teacher has; set it, or "
            "distillation.layers.fill in its place"
        )
    _check_dense(run, models)
    if config.prune.source:
        with fine_pruned(config):
            pass
    one_shot = not (config.prune.epochs or config.prune.source)
    if one_shot and method.init(jax.random.key(0), params).learned:
        raise UserError(
            f"config.prune.epochs is 0: expected 1 or more, for {config.pruning.method} learns its "
            "scores; raise it, or take a method without scores, such as magnitude"
        )
    kind = config.budget.kind
    if kind not in ("penalty", "density") and any(group.norms for group in pattern.groups):
        raise UserError(
            f"config.budget.kind is {kind}: expected density, for {pattern.name} also removes "
            "dimensions of the hidden state, which it alone counts; change it, or pruning.pattern"
        )
    if kind != "speedup":  # whose reach has to be measured
        run.plan_budget()


def starts_dense(config: Any) -> bool:
    """Whether the prune stage starts from the dense model of the task, not the pretrained one."""
    return config.prune.start == "dense" or not config.prune.epochs


def _check_dense(run: Run, models: dict[str, Config]) -> None:
    source = run.config.teacher.source
    if not source:
        return
    ours, theirs = (
        dataclasses.asdict(model.replace(hidden_dropout=0, attention_dropout=0, dense_sizes=None))
        for model in (models[run.config.model.source], models[source])
    )
    for name, expected in ours.items():
        if theirs[name] != expected and name != "dtype":
            raise UserError(
                f"{source} has {name} {theirs[name]}, expected {expected} as the model that is "
                "compared with it; to learn from it, name it as distillation.source, "
                "or set model.source to one of its sizes"
            )


def _check_activations(run: Run, models: dict[str, Config]) -> None:
    options, source = run.config.distillation, run.config.model.source
    guide = options.source or run.config.teacher.source or source
    ours, theirs = describe(models[source]), describe(models[guide])
    for name, term in TERMS.items():
        if name in options and any(options[name].values()) and (told := term.fits(ours, theirs)):
            raise UserError(
                f"config.distillation.{name}: {guide} {told}; set its weight to 0, or learn from a "
                "model of that shape"
            )


def load_for(task: Task, source: str | Path, tokenizer: Any) -> tuple[Config, dict]:
    """Loads a finished model, which must have the task's head and the tokenizer's vocabulary.

    Raises:
      UserError: no model there, another head or another vocabulary.
    """
    model, params = load_pretrained(source, head="saved")
    if (model.head, model.num_labels) != (task.head, task.num_labels):
        raise UserError(
            f"{source} has a {model.head} head of {model.num_labels} outputs: task {task.name} "
            f"expects {task.head} of {task.num_labels}; choose a model or a task that fits"
        )
    check_vocabulary(tokenizer, model)
    return model, params
