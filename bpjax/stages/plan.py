"""What a run would take, found without doing it: sizes, steps, memory, time."""

import functools
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bpjax.config import RunConfig
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.inputs import TEACHER_LOGITS
from bpjax.pruning.costs import linear_parameters
from bpjax.stages.base import Inputs
from bpjax.stages.recipe import keeps_logits, pruning_of, step_of, teacher_of
from bpjax.training.evaluation import Batch, forward
from bpjax.training.input import (
    Batching,
    BatchPlan,
    collate,
    plan_epoch,
    resolve_buckets,
    resolve_targets,
    train_batches,
    with_targets,
)
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import TrainState, init_state
from bpjax.training.step import Step
from bpjax.training.terms import Teacher, init_learned

TIMED, SECONDS = 3, 3.0
"""Steps to time at least after the one that compiles, and for how long to go on: a machine that
others use too is slow for a moment now and then."""


def plan(inputs: Inputs, config: RunConfig, steps: Mapping[str, int]) -> dict[str, Any]:
    """Compiles and times a step of fine-pruning, and counts the rest.

    Args:
      inputs: data.
      config: of the run.
      steps: by stage that trains.

    Returns:
      `model`: `parameters` and `linear_params`; `rows`: of `train` and `evaluation`; `devices`;
      `steps` and `seconds` by stage that trains, the latter from the timed step by the tokens of
      each batch (without compilation and evaluation; stages without masks take a little less);
      `compiling`: seconds that compiling the timed step took; `step_bytes`: memory of a step on the
      longest rows, on each device.
    """
    model, params = inputs.pretrained(config.model, config.seed)
    shapes = _shapes(inputs, config)
    (usual, _), *_ = shapes.most_common()
    source = config.distillation.source or config.teacher.source
    found = inputs.finished(source, dtype=model.dtype) if source else (model, params)
    teacher = teacher_of(config.distillation, "prune", *found)
    step, state = _make_step(inputs, config, model, params, teacher)
    # Before the steps take over the state.
    memory = step_bytes(inputs, config, step, state, teacher)
    first, seconds = _time(step, state, _make_batch(inputs, config, usual, teacher))
    epoch = sum(seconds * count * bucket / usual for bucket, count in shapes.items())
    per_epoch = inputs.steps_per_epoch(config.batch)
    return {
        "model": {
            "parameters": sum(x.size for x in jax.tree.leaves(params)),
            "linear_params": sum(linear_parameters(describe(model)).values()),
        },
        "rows": {"train": len(inputs.train), "evaluation": len(inputs.evaluation)},
        "devices": jax.device_count(),
        "steps": dict(steps),
        "seconds": {name: count / per_epoch * epoch for name, count in steps.items()},
        "compiling": first - seconds,
        "step_bytes": memory,
    }


def _shapes(inputs: Inputs, config: RunConfig) -> Counter[int]:
    """The lengths that an epoch's batches are padded to, and how many batches have each."""
    batch, lengths = config.batch, inputs.train.lengths
    if batch.packing:
        return Counter({batch.packing: inputs.steps_per_epoch(batch)})
    epoch = plan_epoch(lengths, batch.size, batch.buckets, config.seed, 0)
    return Counter(found.bucket for found in epoch)


def step_bytes(
    inputs: Inputs, config: RunConfig, step: Step, state: TrainState, teacher: Teacher | None
) -> int:
    """Memory of a step on the longest rows, on each device."""
    batch = config.batch
    longest = batch.packing or resolve_buckets(inputs.train.lengths, batch.buckets)[-1]
    return step.memory(state, _make_batch(inputs, config, longest, teacher))


def _make_step(
    inputs: Inputs, config: RunConfig, model: Config, params: dict, teacher: Teacher
) -> tuple[Step, TrainState]:
    pruning = pruning_of(config, model, inputs.steps_per_epoch(config.batch))
    optimizer = make_optimizer(steps=100, warmup_steps=10, learning_rate=1e-5)
    rng = jax.random.key(config.seed)
    learned = init_learned(teacher, describe(model), describe(teacher.config))
    state = init_state(params, pruning, optimizer, rng, learned)
    step = step_of(inputs, config, model, pruning, optimizer, teacher)
    return step, inputs.layout.shard(state)


def _make_batch(inputs: Inputs, config: RunConfig, bucket: int, teacher: Teacher | None) -> Batch:
    """Rows that fit the bucket, with the teacher's logits where a run would have them at hand."""
    size, train, packing = config.batch.size, inputs.train, config.batch.packing
    if packing:
        whole = next(train_batches(train, Batching(size, packing=packing), config.seed, epochs=1))
        return _with_logits(config, whole, teacher)
    fitting = np.flatnonzero(train.lengths <= bucket)
    rows = fitting[np.arange(size) % len(fitting)]
    targets = resolve_targets(train, config.batch.target_buckets)
    whole = collate(train, with_targets(train, BatchPlan(bucket, rows), targets[-1:]))
    part = inputs.layout.part(size)
    return {name: x[part] for name, x in _with_logits(config, whole, teacher).items()}


def _with_logits(config: RunConfig, whole: Batch, teacher: Teacher | None) -> Batch:
    if teacher and keeps_logits(config.distillation, teacher):
        logits = jax.eval_shape(functools.partial(forward, teacher.config), teacher.params, whole)
        whole[TEACHER_LOGITS] = np.zeros(logits.shape, np.float32)
    return whole


def _time(step: Step, state: TrainState, batch: Batch) -> tuple[float, float]:
    """Seconds of the first step, which compiles, and the median of some after it."""
    found: list[float] = []
    while len(found) < 1 + TIMED or sum(found[1:]) < SECONDS:
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        found.append(time.perf_counter() - started)
    return found[0], statistics.median(found[1:])
