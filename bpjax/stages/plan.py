"""What a run would take, found without doing it: sizes, steps, memory, time."""

import functools
import statistics
import time
from collections import Counter
from typing import Any

import jax
import numpy as np

from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.pruning.costs import linear_parameters
from bpjax.stages.inputs import Run
from bpjax.training.evaluation import Batch, forward
from bpjax.training.input import BatchPlan, collate, plan_epoch, resolve_buckets
from bpjax.training.optimizer import make_optimizer
from bpjax.training.step import Step, TrainState, init_state
from bpjax.training.terms import LOGITS, Teacher, init_learned

TIMED = 3  # steps, after the one that compiles


def plan(run: Run) -> dict[str, Any]:
    """Compiles and times a step of fine-pruning, and counts the rest.

    Returns:
      `model`: `parameters` and `linear_params`; `rows`: of `train` and `evaluation`; `devices`;
      `steps` and `seconds` by stage that trains, the latter from the timed step by the tokens of
      each batch (without compilation and evaluation; stages without masks take a little less);
      `step_bytes`: memory of a step on the longest rows, on each device.
    """
    config = run.config
    model, params = run.pretrained()
    lengths, buckets = run.train.lengths, config.batch.buckets
    shapes = Counter(
        found.bucket for found in plan_epoch(lengths, config.batch.size, buckets, config.seed, 0)
    )
    (usual, _), *_ = shapes.most_common()
    source = config.distillation.source or config.teacher.source
    teacher = run.teacher(source, "prune") if source else run.make_teacher(model, params, "prune")
    step, state = _make_step(run, model, params, teacher)
    memory = step_bytes(run, step, state, teacher)  # before the steps take over the state
    seconds = _time(step, state, _make_batch(run, usual, teacher))
    epoch = sum(seconds * count * bucket / usual for bucket, count in shapes.items())
    epochs = {
        name: config[name].epochs
        for name in ("teacher", "prune", "fill")
        if config[name].epochs and not config[name].get("source")
    }
    return {
        "model": {
            "parameters": sum(x.size for x in jax.tree.leaves(params)),
            "linear_params": sum(linear_parameters(describe(model)).values()),
        },
        "rows": {"train": len(run.train.rows), "evaluation": len(run.evaluation.rows)},
        "devices": jax.device_count(),
        "steps": {name: count * run.steps_per_epoch() for name, count in epochs.items()},
        "seconds": {name: count * epoch for name, count in epochs.items()},
        "step_bytes": memory,
    }


def step_bytes(run: Run, step: Step, state: TrainState, teacher: Teacher | None) -> int:
    """Memory of a step on the longest rows, on each device."""
    longest = resolve_buckets(run.train.lengths, run.config.batch.buckets)[-1]
    return step.memory(state, _make_batch(run, longest, teacher))


def _make_step(run: Run, model: Config, params: dict, teacher: Teacher) -> tuple[Step, TrainState]:
    config, pruning = run.config, run.pruning(model)
    optimizer = make_optimizer(steps=100, warmup_steps=10, learning_rate=1e-5)
    rng = jax.random.key(config.seed)
    learned = init_learned(teacher, describe(model), describe(teacher.config))
    state = init_state(params, pruning, optimizer, rng, learned)
    step = run.make_step(model, pruning, optimizer, teacher)
    return step, run.layout.shard(state)


def _make_batch(run: Run, bucket: int, teacher: Teacher | None) -> Batch:
    """Rows that fit the bucket, with the teacher's logits where a run would have them at hand."""
    size = run.config.batch.size
    fitting = np.flatnonzero(run.train.lengths <= bucket)
    rows = fitting[np.arange(size) % len(fitting)]
    whole = collate(run.train, BatchPlan(bucket, rows))
    if teacher and run.keeps_logits(teacher):
        logits = jax.eval_shape(functools.partial(forward, teacher.config), teacher.params, whole)
        whole[LOGITS] = np.zeros(logits.shape, np.float32)
    part = run.layout.part(size)
    return {name: value[part] for name, value in whole.items()}


def _time(step: Step, state: TrainState, batch: Batch) -> float:
    """Seconds of a step: the median of some, after the first."""
    found = []
    for _ in range(1 + TIMED):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])
