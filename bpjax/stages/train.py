"""The stages that train: teacher, prune, fill. All three run the same loop."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from tqdm import tqdm

from bpjax.distributed import write_once
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.pruning.fill import fill as fill_zeros
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import Scores, build_mask_collection
from bpjax.pruning.schedules import cubic
from bpjax.pruning.summary import mask_density
from bpjax.stages.base import FILL_NOISE, NUMBERS, row_seed, stream
from bpjax.stages.budget import Budget
from bpjax.stages.inputs import Run, fine_pruned, starts_dense
from bpjax.stages.plan import step_bytes
from bpjax.training import approximations
from bpjax.training.calibration import input_norms
from bpjax.training.evaluation import Batch
from bpjax.training.input import train_batches
from bpjax.training.loop import fit
from bpjax.training.mesh import gather
from bpjax.training.optimizer import make_optimizer
from bpjax.training.step import Pruning, TrainState, init_state
from bpjax.training.teacher_logits import cached_logits
from bpjax.training.terms import Teacher, init_learned
from bpjax.workdir import load_arrays, save_arrays


class Trained(NamedTuple):
    """A stage at its end.

    Attributes:
      state: after the last step, whole in every process.
      metrics: of that state.
      notes: what the report tells: `seconds`; `waiting`, the fraction of them in which the step
        waited for data; `step_bytes`, memory of a step on the longest rows on each device.
    """

    state: TrainState
    metrics: dict[str, float]
    notes: dict[str, Any]


def _train(
    run: Run,
    folder: Path,
    *,
    model: Config,
    params: dict,
    pruning: Pruning | None = None,
    teacher: Teacher | None = None,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
) -> Trained:
    """Trains one stage, which gives its name to its folder and to its part of the config."""
    config, stage = run.config, run.config[folder.name]
    epoch = run.steps_per_epoch()
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
    number = NUMBERS[folder.name]
    rng = stream(config.seed, number)
    batch, logits = config.batch, None
    if teacher and run.keeps_logits(teacher):
        path = folder.parent / config.distillation.cache
        logits = cached_logits(teacher, run.train, run.eval_size, batch.buckets, path, run.layout)
    part = run.layout.part(batch.size)
    learned = None
    if teacher:
        learned = init_learned(teacher, describe(model), describe(teacher.config))
    state = init_state(params, pruning, optimizer, rng, learned)
    for name in run.layout.undivided(params):
        tqdm.write(f"{name}: fsdp does not divide it, every device holds it whole")
    state = run.layout.shard(state)

    def batches(start: int) -> Iterator[Batch]:
        seed = row_seed(config.seed, number)
        size, buckets = batch.size, batch.buckets
        found = train_batches(run.train, size, buckets, seed, stage.epochs, start, part)
        return logits.attach(found) if logits else found

    step = run.make_step(model, pruning, optimizer, teacher)
    fitted = fit(
        folder.name,
        state,
        step,
        batches,
        steps=steps,
        workdir=folder.parent,
        evaluate=evaluate or (lambda state: run.metrics(model, state.params)),
        evaluate_every=config.evaluate_every or epoch,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
    )
    notes = {
        "seconds": fitted.seconds,
        "waiting": fitted.waiting,
        "step_bytes": step_bytes(run, step, fitted.state, teacher),
    }
    state = fitted.state
    state = state._replace(params=gather(state.params), method=gather(state.method))
    return Trained(state, fitted.metrics, notes)


def train_teacher(run: Run, folder: Path) -> dict[str, Any]:
    """Fine-tunes the dense model that is compared with and distilled from, unless one is given."""
    if run.config.teacher.source:
        return {"seconds": 0.0}
    model, params = run.pretrained()
    trained = _train(run, folder, model=model, params=params)
    _save_model(run, folder, model, trained.state.params)
    return trained.notes


def _save_model(run: Run, folder: Path, model: Config, params: dict) -> None:
    write_once(save_pretrained, folder / "model", model, params, run.tokenizer, overwrite=True)


def prune(
    run: Run, teacher_dir: Path, guide_dir: Path, budget: Budget | None, folder: Path
) -> dict[str, Any]:
    """Fine-prunes the pretrained or the dense model; saves its weights, scores and final masks.

    With `prune.source`, another run's weights and scores are cut by this run's budget instead: the
    masks of one run at several budgets are nested. With 0 epochs, the dense model is cut as it is.
    """
    model, params = run.pretrained()
    if starts_dense(run.config):
        _, params = load_pretrained(teacher_dir, head="saved", dtype=run.config.model.dtype)
    pruning = run.pruning(model, budget)
    final = pruning.schedule(max(1, run.config.prune.epochs * run.steps_per_epoch()))

    @jax.jit
    def final_masks(state: TrainState) -> tuple[Scores, jax.Array]:
        values = pruning.method.masks(state.method, state.params, final, None)
        return values, mask_density(pruning.pattern, values)

    def finished(state: TrainState, masks: dict) -> tuple[Config, dict]:
        batches = run.calibration_batches()
        return approximations.finish(model, pruning.approximations, state.params, masks, batches)

    def evaluate(state: TrainState) -> dict[str, float]:
        # With the final threshold, whatever today's: what the model would be if cut now.
        values, density = final_masks(state)
        masks = build_mask_collection(pruning.pattern, values)
        metrics = run.metrics(*finished(state, masks), masks)
        return metrics | {"final_density": float(density)}

    if run.config.prune.source:
        started = time.perf_counter()
        state = _load_pruned(run, pruning, params)
        model = approximations.finished(model, pruning.approximations)  # by that run
        metrics, notes = evaluate(state), {"seconds": time.perf_counter() - started}
    elif not run.config.prune.epochs:
        started = time.perf_counter()
        state = _calibrated(run, pruning, model, params)
        metrics, notes = evaluate(state), {"seconds": time.perf_counter() - started}
    else:
        state, metrics, notes = _train(
            run,
            folder,
            model=model,
            params=params,
            pruning=pruning,
            teacher=run.teacher(guide_dir, folder.name),
            evaluate=evaluate,
        )
    values, _ = final_masks(state)
    _, params = finished(state, build_mask_collection(pruning.pattern, values))
    write_once(save_arrays, folder / "params.safetensors", params)
    write_once(save_arrays, folder / "masks.safetensors", dict(values))
    if state.method.learned:
        write_once(save_arrays, folder / "scores.safetensors", state.method.learned)
    return {**notes, "metrics": metrics}


def _calibrated(run: Run, pruning: Pruning, model: Config, params: dict) -> TrainState:
    """A state before any step, of a method that has seen what it asks for."""
    state = init_state(params, pruning, optax.identity(), jax.random.key(run.config.seed))
    if pruning.method.calibrate:
        norms = input_norms(model, params, run.calibration_batches())
        state = state._replace(method=pruning.method.calibrate(state.method, norms))
    return state


def _load_pruned(run: Run, pruning: Pruning, params: dict) -> TrainState:
    """The end of another run's fine-pruning, to be cut by this run's budget."""
    state = init_state(params, pruning, optax.identity(), jax.random.key(0))
    learned = state.method.learned
    with fine_pruned(run.config) as folder:
        found = load_arrays(folder / "params.safetensors")
        if learned:
            learned = load_arrays(folder / "scores.safetensors")
        ours = state.params, state.method.learned
        if jax.tree.map(jnp.shape, ours) != jax.tree.map(jnp.shape, (found, learned)):
            raise ValueError("its model has other sizes")
    return state._replace(params=found, method=state.method._replace(learned=learned))


def fill(run: Run, guide_dir: Path, shrunken: Path, folder: Path) -> dict[str, Any]:
    """Fine-tunes the shrunken model, dense now, with the same distillation."""
    model, params = load_pretrained(shrunken, head="saved", dtype=run.config.model.dtype)
    trained = _train(
        run,
        folder,
        model=model,
        params=fill_zeros(params, describe(model), stream(run.config.seed, FILL_NOISE)),
        teacher=run.teacher(guide_dir, folder.name),
    )
    _save_model(run, folder, model, trained.state.params)
    return trained.notes
