"""The corridor: teacher → fine-prune → shrink → fill → measure → report.

Each stage reads what the stage before it wrote, and is skipped when it is finished. Nothing after
shrink knows that masks exist.
"""

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bpjax.deploy.flops import theoretical_speedup
from bpjax.deploy.latency import compare_latency, parse_shapes
from bpjax.errors import UserError
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.models.pretrained import (
    check_vocabulary,
    load_pretrained,
    load_tokenizer,
    save_pretrained,
)
from bpjax.models.sources import find_folder
from bpjax.pruning.fill import fill
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import Scores, apply_masks, make_pattern, spread
from bpjax.pruning.schedules import cubic
from bpjax.pruning.summary import mask_density
from bpjax.pruning.surgery import shrink
from bpjax.report.environment import describe_environment
from bpjax.report.plots import plot_curves, plot_masks
from bpjax.report.write import write_report
from bpjax.tasks import Features, Task, get_task
from bpjax.training.evaluation import predict
from bpjax.training.input import eval_batches, resolve_buckets, steps_per_epoch, train_batches
from bpjax.training.loop import fit
from bpjax.training.optimizer import make_optimizer
from bpjax.training.scalars import read_scalars
from bpjax.training.step import Pruning, Teacher, TrainState, forward, init_state, make_train_step
from bpjax.workdir import Workdir, load_arrays, save_arrays

STAGES = ("teacher", "prune", "shrink", "fill", "measure")


def run(config: Any, workdir: Path, command: str) -> dict[str, Any]:
    """Runs a config from its first unfinished stage to the report.

    Args:
      config: as `bpjax.config.default_config`, validated.
      workdir: where the stages and the report go; made if missing.
      command: how the run was started, for the report.

    Returns:
      The report, as in `workdir`/report.json.

    Raises:
      UserError: bad data, checkpoint or workdir.
    """
    folder = Workdir(workdir, config.to_dict())
    data = _prepare(config)
    _check(config, data)

    teacher = folder.stage("teacher", functools.partial(_train_teacher, config, data))
    source = config.teacher.source
    teacher_dir = find_folder(source) if source else workdir / "teacher" / "model"
    prune = folder.stage("prune", functools.partial(_prune, config, data, teacher_dir))
    shrunk = folder.stage("shrink", functools.partial(_shrink, config, data, workdir / "prune"))
    filled = {"seconds": 0.0}
    model_dir = workdir / "shrink" / "model"
    if config.fill.epochs:
        stage = functools.partial(_fill, config, data, teacher_dir, model_dir)
        filled = folder.stage("fill", stage)
        model_dir = workdir / "fill" / "model"
    measured = folder.stage("measure", lambda _: _measure(config, data, teacher_dir, model_dir))

    report = {
        "task": config.task.name,
        "model": config.model.source,
        "pattern": config.pruning.pattern,
        "method": config.pruning.method,
        "seed": config.seed,
        "command": command,
        "config": config.to_dict(),
        "environment": describe_environment(),
        "seconds": {
            "teacher": teacher["seconds"],
            "prune": prune["seconds"],
            "shrink": shrunk["seconds"],
            "fill": filled["seconds"],
            "measure": measured.pop("seconds"),
        },
        **measured,
        "masked": prune["metrics"],
        "shrunken": shrunk["metrics"],
        "equivalence": shrunk["equivalence"],
    }
    write_report(report, workdir)
    masks = jax.device_get(load_arrays(workdir / "prune" / "masks.safetensors"))
    plot_masks(masks, workdir / "masks.png")
    plot_curves(read_scalars(workdir), workdir / "curves.png", metric=data.task.metric)
    return report


class Data(NamedTuple):
    """What every stage reads: the task and its two splits, tokenised."""

    task: Task
    tokenizer: Any
    train: Features
    evaluation: Features

    def predict(
        self, config: Any, model: BertConfig, params: dict, masks: dict | None = None
    ) -> list[np.ndarray]:
        """Logits of the evaluation split, a row each."""
        batches = eval_batches(self.evaluation, config.batch.eval_size, config.batch.buckets)
        return predict(model, params, batches, masks)

    def metrics(
        self, config: Any, model: BertConfig, params: dict, masks: dict | None = None
    ) -> dict[str, float]:
        """The task's metrics on the evaluation split, in percent."""
        return self.task.evaluate(self.evaluation, self.predict(config, model, params, masks))


def _prepare(config: Any) -> Data:
    task = get_task(**config.task)
    tokenizer = load_tokenizer(config.model.source)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    return Data(task, tokenizer, train, evaluation)


def _check(config: Any, data: Data) -> None:
    """Finds what would stop a later stage, before hours are spent on an earlier one.

    Raises:
      UserError: a vocabulary, head, length or schedule that does not fit.
    """
    model, _ = _pretrained(config, data)
    models = {config.model.source: model}
    if config.teacher.source:
        models[config.teacher.source], _ = load_for(
            data.task, config.teacher.source, data.tokenizer
        )
    lengths = [length for _, length in parse_shapes(config.measure.shapes)]
    for features in (data.train, data.evaluation):
        buckets = resolve_buckets(features.lengths, config.batch.buckets)
        lengths.append(min(x for x in buckets if x >= features.lengths.max()))
    for source, found in models.items():
        if max(lengths) > found.max_positions:
            raise UserError(
                f"{max(lengths)} tokens in a row: expected at most {found.max_positions}, the "
                f"positions of {source}; lower task.max_length, batch.buckets or measure.shapes"
            )
    epoch = steps_per_epoch(len(data.train.rows), config.batch.size)
    for name in ("teacher", "prune", "fill"):
        stage = config[name]
        trains = stage.epochs > 0 and not (name == "teacher" and config.teacher.source)
        if trains and stage.warmup_steps >= stage.epochs * epoch:
            raise UserError(
                f"config.{name}.warmup_steps is {stage.warmup_steps}: expected fewer than the "
                f"{stage.epochs * epoch} steps of the stage; lower it or take more epochs"
            )
    try:
        _pruning(config, data, model)
    except ValueError as error:
        raise UserError(f"config.pruning or config.prune: {error}") from error


def load_for(task: Task, source: str | Path, tokenizer: Any) -> tuple[BertConfig, dict]:
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


def _pretrained(config: Any, data: Data) -> tuple[BertConfig, dict]:
    """The model before the task: what teacher and student both start from."""
    model, params = load_pretrained(
        config.model.source,
        head=data.task.head,
        num_labels=data.task.num_labels,
        dtype=config.model.dtype,
        rng=jax.random.key(config.seed),
    )
    check_vocabulary(data.tokenizer, model)
    return model, params


def _teacher(config: Any, source: Path | str) -> Teacher:
    model, params = load_pretrained(source, head="saved", dtype=config.model.dtype)
    return Teacher(model, params, config.distillation.weight, config.distillation.temperature)


def _train(
    config: Any,
    data: Data,
    folder: Path,
    *,
    model: BertConfig,
    params: dict,
    pruning: Pruning | None = None,
    teacher: Teacher | None = None,
    evaluate: Any = None,
) -> tuple[TrainState, float]:
    """Trains one stage, which gives its name to its folder and to its part of the config."""
    stage = config[folder.name]
    epoch = steps_per_epoch(len(data.train.rows), config.batch.size)
    steps = epoch * stage.epochs
    optimizer = make_optimizer(
        steps=steps,
        warmup_steps=stage.warmup_steps,
        learning_rate=stage.learning_rate,
        score_learning_rate=stage.get("score_learning_rate", 0.0),
        weight_decay=stage.weight_decay,
        clip=stage.clip,
    )
    pruning = pruning or Pruning(dense(), NO_PATTERN, cubic(steps=steps, warmup_steps=0))
    # Each stage has its own stream of dropout and its own order of rows.
    number = STAGES.index(folder.name)
    rng = jax.random.fold_in(jax.random.key(config.seed), number)
    state, seconds = fit(
        folder.name,
        init_state(params, pruning, optimizer, rng),
        make_train_step(model, data.task, pruning, optimizer, teacher),
        lambda start: train_batches(
            data.train,
            config.batch.size,
            config.batch.buckets,
            config.seed * len(STAGES) + number,
            stage.epochs,
            start,
        ),
        steps=steps,
        workdir=folder.parent,
        evaluate=evaluate or (lambda state: data.metrics(config, model, state.params)),
        evaluate_every=epoch,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
    )
    return state, seconds


def _train_teacher(config: Any, data: Data, folder: Path) -> dict[str, Any]:
    if config.teacher.source:
        return {"seconds": 0.0}
    model, params = _pretrained(config, data)
    state, seconds = _train(config, data, folder, model=model, params=params)
    save_pretrained(folder / "model", model, state.params, data.tokenizer, overwrite=True)
    return {"seconds": seconds}


def _pruning(config: Any, data: Data, model: BertConfig) -> Pruning:
    options = config.pruning
    pattern = make_pattern(options.pattern, bert.describe(model), options.block)
    settings = {}
    if options.method == "movement":
        settings = {
            "binarizer": options.binarizer,
            "floor": options.floor,
            "kind_weights": {"attention": options.attention_weight, "ffn": options.ffn_weight},
        }
    value = config.budget.value
    schedule = cubic(
        steps=config.prune.epochs * steps_per_epoch(len(data.train.rows), config.batch.size),
        warmup_steps=config.prune.warmup_steps,
        initial_warmup=options.initial_warmup,
        final_warmup=options.final_warmup,
        threshold=(options.threshold_initial, options.threshold_final),
        density=(1.0, value if config.budget.kind == "density" else 1.0),
        penalty=value if config.budget.kind == "penalty" else 0.0,
    )
    return Pruning(make_method(options.method, pattern, **settings), pattern, schedule)


def _prune(config: Any, data: Data, teacher_dir: Path, folder: Path) -> dict[str, Any]:
    model, params = _pretrained(config, data)
    pruning = _pruning(config, data, model)
    last = config.prune.epochs * steps_per_epoch(len(data.train.rows), config.batch.size)
    final_knobs = pruning.schedule(last)

    @jax.jit
    def final_masks(state: TrainState) -> tuple[Scores, jax.Array]:
        values = pruning.method.masks(state.method, state.params, final_knobs, None)
        return values, mask_density(pruning.pattern, values)

    def evaluate(state: TrainState) -> dict[str, float]:
        # With the final threshold, whatever today's: what the model would be if cut now.
        values, density = final_masks(state)
        masks = spread(pruning.pattern, values)
        metrics = data.metrics(config, model, state.params, masks)
        return metrics | {"final_density": float(density)}

    state, seconds = _train(
        config,
        data,
        folder,
        model=model,
        params=params,
        pruning=pruning,
        teacher=_teacher(config, teacher_dir),
        evaluate=evaluate,
    )
    values, _ = final_masks(state)
    save_arrays(folder / "params.safetensors", state.params)
    save_arrays(folder / "masks.safetensors", dict(values))
    if state.method.learned:
        save_arrays(folder / "scores.safetensors", state.method.learned)
    return {"seconds": seconds, "metrics": evaluate(state)}


def _shrink(config: Any, data: Data, pruned: Path, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    model, _ = _pretrained(config, data)
    params = load_arrays(pruned / "params.safetensors")
    pattern = make_pattern(config.pruning.pattern, bert.describe(model), config.pruning.block)
    masks = spread(pattern, load_arrays(pruned / "masks.safetensors"))
    small = shrink(
        apply_masks(params, masks),
        bert.describe(model),
        bert.activation,
        round_to=config.shrink.round_to,
        rank_by=params,
    )
    smaller = model.replace(heads=small.heads, intermediate=small.intermediate)
    save_pretrained(folder / "model", smaller, small.params, data.tokenizer, overwrite=True)

    before = data.predict(config, model, params, masks)
    after = data.predict(config, smaller, small.params)
    differences = [float(np.abs(x - y).max()) for x, y in zip(before, after, strict=True)]
    flipped = sum(
        bool((x.argmax(0) != y.argmax(0)).any()) for x, y in zip(before, after, strict=True)
    )
    return {
        "seconds": time.perf_counter() - started,
        "metrics": data.task.evaluate(data.evaluation, after),
        "equivalence": {
            "max_abs_diff": max(differences),
            "examples": len(differences),
            "predictions_changed": flipped,
        },
    }


def _fill(
    config: Any, data: Data, teacher_dir: Path, shrunken: Path, folder: Path
) -> dict[str, Any]:
    model, params = load_pretrained(shrunken, head="saved", dtype=config.model.dtype)
    rng = jax.random.fold_in(jax.random.key(config.seed), len(STAGES))
    state, seconds = _train(
        config,
        data,
        folder,
        model=model,
        params=fill(params, bert.describe(model), rng),
        teacher=_teacher(config, teacher_dir),
    )
    save_pretrained(folder / "model", model, state.params, data.tokenizer, overwrite=True)
    return {"seconds": seconds}


def _measure(config: Any, data: Data, teacher_dir: Path, model_dir: Path) -> dict[str, Any]:
    started = time.perf_counter()
    shapes = parse_shapes(config.measure.shapes)
    folders = {"dense": teacher_dir, "pruned": model_dir}
    models = {
        name: load_pretrained(path, head="saved", dtype=config.model.dtype)
        for name, path in folders.items()
    }
    latency = compare_latency(
        {
            name: (functools.partial(forward, model), params)
            for name, (model, params) in models.items()
        },
        shapes,
        vocab_size=min(model.vocab_size for model, _ in models.values()),
        rounds=config.measure.rounds,
    )
    measured: dict[str, Any] = {}
    for name, (model, params) in models.items():
        measured[name] = {
            "metrics": data.metrics(config, model, params),
            "linear_params": model.linear_parameters(),
            "total_params": sum(x.size for x in jax.tree.leaves(params)),
            "bytes_on_disk": sum(x.stat().st_size for x in folders[name].glob("*.safetensors")),
            "latency_ms": latency[name],
        }
    dense_model, pruned_model = models["dense"][0], models["pruned"][0]
    return {
        "seconds": time.perf_counter() - started,
        **measured,
        "density": pruned_model.linear_parameters() / dense_model.linear_parameters(),
        "heads_kept": pruned_model.heads,
        "ffn_kept": pruned_model.intermediate,
        "speedup": {s: latency["dense"][s] / latency["pruned"][s] for s in config.measure.shapes},
        "theoretical_speedup": {
            f"{b}x{n}": theoretical_speedup(dense_model, pruned_model, b, n) for b, n in shapes
        },
    }
