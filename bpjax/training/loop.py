"""The training loop of one stage: steps, a progress bar, scalars, evaluation, checkpoints."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from bpjax.distributed import is_main
from bpjax.errors import Interrupted, UserError
from bpjax.training.checkpoints import Checkpoints
from bpjax.training.compiling import watch_compiling
from bpjax.training.evaluation import Batch
from bpjax.training.preemption import watch_for_end
from bpjax.training.scalars import Scalars
from bpjax.training.state import TrainState
from bpjax.training.step import Step


class Fitted(NamedTuple):
    """A stage at its end.

    Attributes:
      state: after the last step.
      metrics: what `evaluate` gave for it.
      seconds: of training, over all of the stage's starts.
      waiting: fraction of this start's seconds in which the loop waited for the next batch.
      compiling: fraction of them in which programs were compiled, those of `evaluate` too.
    """

    state: TrainState
    metrics: dict[str, float]
    seconds: float
    waiting: float = 0.0
    compiling: float = 0.0


def fit(
    stage: str,
    state: TrainState,
    step: Step,
    batches: Callable[[int], Iterable[Batch]],
    *,
    steps: int,
    workdir: Path,
    evaluate: Callable[[TrainState], dict[str, float]],
    evaluate_every: int,
    checkpoint_every: int,
    log_every: int,
) -> Fitted:
    """Trains one stage to its end, from its newest checkpoint if there is one.

    Args:
      stage: name of the stage: its folder in `workdir`, its rows in the scalars.
      state: the state before the first step; its buffers are taken over.
      step: one update.
      batches: from a step, the batches from that step on.
      steps: updates in the stage.
      workdir: of the run.
      evaluate: metrics and densities of a state, logged every `evaluate_every` steps and at the
        end.
      evaluate_every: in steps.
      checkpoint_every: in steps.
      log_every: in steps; between logs the loop never waits for the device.

    Returns:
      The last state, its metrics and the time it took.

    Raises:
      UserError: the loss is not finite (no such state is saved), or a checkpoint cannot be written
        or is of another model.
      Interrupted: SIGTERM came; the state is saved.
    """
    with contextlib.ExitStack() as stack:
        compiled = stack.enter_context(watch_compiling())
        checkpoints = Checkpoints(workdir / stage / "checkpoints")
        stack.callback(checkpoints.close)
        state, seconds = checkpoints.restore(state)
        first = int(state.step)
        scalars = Scalars(workdir, stage, first)
        stack.callback(scalars.close)
        begun = time.perf_counter()
        started, waited = begun - seconds, 0.0
        is_asked_to_end = stack.enter_context(watch_for_end())
        found: dict[str, float] = {}
        bar = stack.enter_context(
            tqdm(
                total=steps,
                initial=first,
                desc=stage,
                unit="step",
                file=sys.stdout,
                mininterval=1.0,
                disable=not is_main(),
            )
        )
        source = iter(batches(first))
        for done in range(first + 1, steps + 1):
            asked = time.perf_counter()
            batch = next(source)
            waited += time.perf_counter() - asked
            state, metrics = step(state, batch)
            if done % log_every == 0 or done == steps:
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                _require_finite(stage, done, values, checkpoints)
                scalars.write(done, values)
                shown = {k: f"{values[k]:.3f}" for k in ("loss", "density") if k in values}
                bar.set_postfix(shown, refresh=False)
            if done % evaluate_every == 0 or done == steps:
                found = evaluate(state)
                scalars.write(done, found)
                bar.write(f"{stage} step {done}: " + _readable(found))
            if done % checkpoint_every == 0 and done < steps:
                _require_finite(stage, done, metrics, checkpoints)
                checkpoints.save(state, time.perf_counter() - started)
            bar.update()
            if is_asked_to_end(done) and done < steps:
                _require_finite(stage, done, metrics, checkpoints)
                checkpoints.save(state, time.perf_counter() - started)
                checkpoints.wait()
                raise Interrupted(f"{stage} step {done}: saved; the same command goes on from here")
        jax.block_until_ready(state)
    now = time.perf_counter()
    passed = now - begun
    return Fitted(state, found, now - started, waited / passed, compiled() / passed)


def _require_finite(
    stage: str, step: int, metrics: Mapping[str, Any], checkpoints: Checkpoints
) -> None:
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(value := float(metrics[name])):
            last = checkpoints.latest()
            kept = f"step {last} is saved" if last else "nothing is saved yet"
            raise UserError(
                f"{stage} step {step}: {name} is {value}, expected a finite number ({kept}); lower "
                "the stage's learning_rate or take model.training_dtype=float32, in another "
                "--workdir"
            )


def _readable(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
