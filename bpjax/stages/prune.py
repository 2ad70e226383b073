"""The prune stage: fine-pruning, or the cutting of what is trained already."""

import functools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.config import RunConfig
from bpjax.errors import UserError
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.heads import HEADS
from bpjax.pruning.kept import kept_units, unit_values
from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Scores, build_mask_collection
from bpjax.pruning.rearrange import rearrange
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.structure import Structure
from bpjax.pruning.summary import mask_density
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.budget_file import budget_of
from bpjax.stages.earlier import fine_pruned
from bpjax.stages.evaluator import Evaluator, evaluator_of
from bpjax.stages.masked import write_masked
from bpjax.stages.opened import has_head, saved_head
from bpjax.stages.recipe import (
    check_distillation,
    check_warmup,
    open_teacher,
    pruning_of,
    refusals,
)
from bpjax.stages.removal import removal_of
from bpjax.stages.train import train
from bpjax.training import approximations
from bpjax.training.calibration import input_norms
from bpjax.training.importances import observe_rows
from bpjax.training.reconstruction import reconstruct
from bpjax.training.state import Pruning, TrainState, init_state
from bpjax.workdir import load_arrays


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Fine-prunes the pretrained or the dense model; saves its weights, scores and final masks.

    With `prune.reconstruct`, what the masks leave is fitted to the model before the cut.
    With `prune.source`, another run's weights and scores are cut by this run's budget instead: the
    masks of one run at several budgets are nested. With 0 epochs, the dense model is cut as it is.
    """
    prune, epoch = config.prune, inputs.steps_per_epoch(config.batch)
    evaluator = evaluator_of(inputs, config)
    model, params = inputs.pretrained(config.model, config.seed)
    if prune.start == "dense" or not prune.epochs:
        _, params = inputs.finished(artefacts["dense"], dtype=config.model.dtype)
    pruning = pruning_of(config, model, epoch, budget_of(artefacts))
    final = pruning.schedule(max(1, prune.epochs * epoch))

    @jax.jit
    def final_masks(state: TrainState) -> tuple[Scores, jax.Array]:
        values = pruning.method.masks(state.method, state.params, final, None)
        return values, mask_density(pruning.pattern, values)

    def finished(state: TrainState, masks: dict) -> tuple[Any, dict]:
        batches = evaluator.calibration_batches(prune.calibration_rows)
        return approximations.finish(model, pruning.approximations, state.params, masks, batches)

    def evaluate(state: TrainState) -> dict[str, float]:
        # With the final threshold, whatever today's: what the model would be if cut now.
        values, density = final_masks(state)
        masks = build_mask_collection(pruning.pattern, values)
        beams = config.generation.training_beams
        metrics = evaluator.metrics(*finished(state, masks), masks, beams=beams)
        return metrics | {"final_density": float(density)}

    started = time.perf_counter()
    if prune.source:
        state = _load_pruned(config, pruning, params)
        model = approximations.finished(model, pruning.approximations)  # by that run
    elif not prune.epochs:
        state = _calibrated(evaluator, config, pruning, final, model, params)
    else:
        state, metrics, notes = train(
            inputs,
            config,
            PRUNE,
            prune,
            folder,
            model=model,
            params=params,
            pruning=pruning,
            teacher=open_teacher(inputs, config, PRUNE.name, artefacts["dense"]),
            evaluate=evaluate,
        )
    values, density = final_masks(state)
    masks = build_mask_collection(pruning.pattern, values)
    model, params = finished(state, masks)
    if prune.reconstruct != "none":
        kept = kept_units(describe(model), pruning.pattern, values)
        batches = functools.partial(evaluator.calibration_batches, prune.calibration_rows)
        params = reconstruct(model, params, masks, kept, batches, prune.reconstruct)
    # While it trains, texts are written with fewer beams.
    changed = prune.reconstruct != "none" or HEADS[inputs.task.head].generates
    if changed or not _trains(config):
        metrics = evaluator.metrics(model, params, masks) | {"final_density": float(density)}
    if not _trains(config):
        notes = {"seconds": time.perf_counter() - started}
    write_masked(folder, model, params, values, state.method.learned)
    return {**notes, "metrics": metrics}


def _trains(config: RunConfig) -> bool:
    return config.prune.epochs > 0 and not config.prune.source


def _calibrated(
    evaluator: Evaluator,
    config: RunConfig,
    pruning: Pruning,
    final: ScheduleValues,
    model: Config,
    params: dict,
) -> TrainState:
    """A state before any step, of a method that has seen what it asks for."""
    method, pattern, *_ = pruning
    state = init_state(params, pruning, optax.identity(), jax.random.key(config.seed))
    batches = evaluator.calibration_batches(config.prune.calibration_rows)
    seen = state.method
    if method.calibrate:
        seen = method.calibrate(seen, input_norms(model, params, batches))
    if method.observe:
        head = HEADS[evaluator.inputs.task.head]
        seen, gradients = observe_rows(model, head, method, pattern, final, seen, params, batches)
        if config.prune.rearrange:
            structure = describe(model)
            assert method.closed
            kept = kept_units(structure, pattern, method.masks(seen, params, final, None)).units
            better = {
                name: jnp.asarray(rearrange(gradients[name], np.asarray(alive)))
                for name, alive in kept.items()
            }
            seen = method.closed(seen, unit_values(structure, pattern, better))
    return state._replace(method=seen)


def _load_pruned(config: RunConfig, pruning: Pruning, params: dict) -> TrainState:
    """The end of another run's fine-pruning, to be cut by this run's budget."""
    state = init_state(params, pruning, optax.identity(), jax.random.key(0))
    learned = state.method.learned
    with fine_pruned(config.prune.source, config.pruning) as folder:
        found = load_arrays(folder / "params.safetensors")
        if learned:
            learned = load_arrays(folder / "scores.safetensors")
        ours = state.params, state.method.learned
        if jax.tree.map(jnp.shape, ours) != jax.tree.map(jnp.shape, (found, learned)):
            raise ValueError("its model has other sizes")
    return state._replace(params=found, method=state.method._replace(learned=learned))


def check(inputs: Inputs, config: RunConfig) -> None:
    """Finds a teacher, pattern, method or schedule that does not fit.

    Raises:
      UserError: one does not.
    """
    epoch = inputs.steps_per_epoch(config.batch)
    if _trains(config):
        check_warmup("prune", config.prune, epoch)
    check_distillation(inputs, config)
    model, params = inputs.pretrained(config.model, config.seed)
    with refusals():
        pruning = pruning_of(config, model, epoch)
    _check_dimensions(inputs, config, model)
    _check_start(inputs, config, model)
    _check_observed(inputs, config, pruning.method)
    _check_calibration(inputs, config, describe(model), pruning)
    if config.prune.source:
        with fine_pruned(config.prune.source, config.pruning):
            pass
    one_shot = not (config.prune.epochs or config.prune.source)
    if one_shot and pruning.method.init(jax.random.key(0), params).learned:
        raise UserError(
            f"config.prune.epochs is 0: expected 1 or more, for {config.pruning.method} learns its "
            "scores; raise it, or take a method without scores, such as magnitude"
        )


def _check_dimensions(inputs: Inputs, config: RunConfig, model: Config) -> None:
    """Refuses to remove dimensions of the hidden state that are an embedding's."""
    with refusals():
        removal = removal_of(config, model)
    if removal.narrows and HEADS[inputs.task.head].reads_all:
        raise UserError(
            f"config.pruning.pattern is {removal.pattern.name}: expected one that keeps the "
            "dimensions of the hidden state, for they are those of the embedding; change it"
        )


def _check_start(inputs: Inputs, config: RunConfig, model: Config) -> None:
    """Refuses to start from a dense model of other sizes than the masks have."""
    prune, source = config.prune, config.teacher.source
    if not source or (prune.epochs and prune.start != "dense"):
        return
    dense, _ = inputs.finished(source)
    if describe(dense) != describe(model):
        raise UserError(
            f"config.prune.start is {prune.start!r} and epochs is {prune.epochs}, which start from "
            f"{source}: expected it to have the sizes of {config.model.source}; set "
            "prune.start=pretrained and one epoch or more, or name it as model.source too"
        )


def _check_observed(inputs: Inputs, config: RunConfig, method: Method) -> None:
    """Refuses to learn importances from a head that has learnt nothing."""
    prune, task = config.prune, inputs.task
    starts_there = method.priced and prune.epochs and prune.start == "pretrained"
    if starts_there and not has_head(task, saved_head(config.model.source)):
        raise UserError(
            f"config.prune.start is 'pretrained': expected 'dense', for {config.model.source} has "
            f"no head for {task.name}, and the gradients of a new one say nothing; change it"
        )


def _check_calibration(
    inputs: Inputs, config: RunConfig, structure: Structure, pruning: Pruning
) -> None:
    """Refuses to exchange units or to fit sublayers where that cannot be done."""
    prune, method = config.prune, pruning.method
    if prune.rearrange and (prune.epochs or not method.priced):
        raise UserError(
            "config.prune.rearrange is True: expected False, but for a method that measures "
            "importances, with prune.epochs=0; set it"
        )
    if prune.reconstruct == "none":
        return
    if not all(group.by_unit for group in pruning.pattern.groups):
        raise UserError(
            f"config.prune.reconstruct is {prune.reconstruct!r}: expected 'none', for "
            f"{pruning.pattern.name} masks more than whole units, which are what is fitted; set "
            "it, or take pruning.pattern=struct"
        )
    rows = min(prune.calibration_rows, len(inputs.train))
    tokens = int(inputs.train.lengths.mean() * rows)
    widest = max(each.units * each.write.width for each in structure.sublayers)
    if tokens < widest:
        raise UserError(
            f"config.prune.calibration_rows is {prune.calibration_rows}: expected more, for "
            f"{rows} rows have about {tokens} tokens and kernels of {widest} inputs are fitted to "
            "them; raise it, or set prune.reconstruct=none"
        )


def plan(inputs: Inputs, config: RunConfig) -> int:
    """Steps of fine-pruning; none where something is cut as it is."""
    return config.prune.epochs * inputs.steps_per_epoch(config.batch) if _trains(config) else 0


PRUNE = Stage(
    name="prune",
    number=1,
    run=run,
    takes=("dense", "budget"),
    makes="masked",
    check=check,
    plan=plan,
    report=lambda notes: {"masked": notes["metrics"]},
)
