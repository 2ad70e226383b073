"""The training loop of one stage: steps, a progress bar, scalars, evaluation, checkpoints."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
from tqdm import tqdm

from bpjax.errors import UserError
from bpjax.training.checkpoints import Checkpoints
from bpjax.training.scalars import Scalars
from bpjax.training.step import Batch, Step, TrainState


class Fitted(NamedTuple):
    """A stage at its end.

    Attributes:
      state: after the last step.
      metrics: what `evaluate` gave for it.
      seconds: of training, over all of the stage's starts.
    """

    state: TrainState
    metrics: dict[str, float]
    seconds: float


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
      The last state, its metrics, and the seconds of training over all of the stage's starts.

    Raises:
      UserError: the loss is not finite; no such state is saved.
    """
    with contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(workdir / stage / "checkpoints")
        stack.callback(checkpoints.close)
        state, seconds = checkpoints.restore(state)
        first = int(state.step)
        scalars = Scalars(workdir, stage, first)
        stack.callback(scalars.close)
        started = time.perf_counter() - seconds
        found: dict[str, float] = {}
        bar = stack.enter_context(
            tqdm(
                total=steps,
                initial=first,
                desc=stage,
                unit="step",
                file=sys.stdout,
                mininterval=1.0,
            )
        )
        for done, batch in enumerate(batches(first), start=first + 1):
            state, metrics = step(state, batch)
            if done % log_every == 0 or done == steps:
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                _require_finite(stage, done, values["loss"])
                scalars.write(done, values)
                shown = {k: f"{values[k]:.3f}" for k in ("loss", "density") if k in values}
                bar.set_postfix(shown, refresh=False)
            if done % evaluate_every == 0 or done == steps:
                found = evaluate(state)
                scalars.write(done, found)
                bar.write(f"{stage} step {done}: " + _readable(found))
            if done % checkpoint_every == 0 and done < steps:
                _require_finite(stage, done, float(metrics["loss"]))
                checkpoints.save(state, time.perf_counter() - started)
            bar.update()
        jax.block_until_ready(state)
    return Fitted(state, found, time.perf_counter() - started)


def _require_finite(stage: str, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"{stage} step {step}: loss is {loss}, expected a finite number; lower the stage's "
            "learning_rate or take model.dtype=float32, in another --workdir"
        )


def _readable(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
