"""The training loop of one stage: steps, a progress bar, scalars, evaluation, checkpoints."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
from tqdm import tqdm

from bpjax.errors import UserError
from bpjax.training.checkpoints import Checkpoints
from bpjax.training.scalars import Scalars
from bpjax.training.step import Batch, Step, TrainState


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
) -> tuple[TrainState, float]:
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
      The last state, and the seconds of training over all of the stage's starts.

    Raises:
      UserError: the loss is not finite.
    """
    checkpoints = Checkpoints(workdir / stage / "checkpoints")
    state, seconds = checkpoints.restore(state)
    first = int(state.step)
    scalars = Scalars(workdir, stage, first)
    started = time.perf_counter() - seconds
    bar = tqdm(
        total=steps, initial=first, desc=stage, unit="step", file=sys.stdout, mininterval=1.0
    )
    for done, batch in enumerate(batches(first), start=first + 1):
        state, metrics = step(state, batch)
        if done % log_every == 0 or done == steps:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not math.isfinite(values["loss"]):
                raise UserError(
                    f"{stage} step {done}: loss is {values['loss']}, expected a finite number; "
                    "lower the learning rate, or start again from the last checkpoint with float32"
                )
            scalars.write(done, values)
            shown = {name: values[name] for name in ("loss", "density") if name in values}
            bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)
        if done % evaluate_every == 0 or done == steps:
            values = evaluate(state)
            scalars.write(done, values)
            bar.write(f"{stage} step {done}: " + _readable(values))
        if done % checkpoint_every == 0 and done < steps:
            checkpoints.save(state, time.perf_counter() - started)
        bar.update()
    jax.block_until_ready(state)
    bar.close()
    scalars.close()
    checkpoints.close()
    return state, time.perf_counter() - started


def _readable(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
