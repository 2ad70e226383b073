"""How the threshold, the penalty and the target density move over a run, as traced scalars."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class ScheduleValues(NamedTuple):
    """What a schedule moves.

    Attributes:
      threshold: τ of the threshold binarizers.
      penalty: λ_s, the weight of the penalty at this step.
      density: kept fraction in [0, 1] that top-k binarizers aim at.
      progress: of the schedule, from 0 to exactly 1 where the others are at their final values.
      stagger: 1 where arrays of one size take their next block at different densities, spread
        evenly over its share; 0 where all do at once.
    """

    threshold: Float[Array, ""]
    penalty: Float[Array, ""]
    density: Float[Array, ""]
    progress: Float[Array, ""]
    stagger: float = 0.0


Number = int | float

Schedule = Callable[[Int[Array, ""] | int], ScheduleValues]


def cubic(
    *,
    steps: int,
    warmup_steps: int,
    initial_warmup: Number = 0.0,
    final_warmup: Number = 0.0,
    threshold: tuple[Number, Number] = (0.0, 0.1),
    density: tuple[Number, Number] = (1.0, 1.0),
    penalty: Number = 0.0,
) -> Schedule:
    """The cubic schedule of Sanh et al. 2020 and Lagunas et al. 2021 (appendix).

    With m = 1 − (s − iw·W) / (T − (iw + fw)·W) between the two holds, a value is
    `final + (initial − final)·m³`; the penalty follows the threshold, λ_s = λ·τ_s/τ_f (where τ_f is
    0, λ_s = λ throughout).

    Args:
      steps: T, training steps in all.
      warmup_steps: W, the optimizer's warm-up.
      initial_warmup: iw; values stay at their initial values while `s <= iw * W`.
      final_warmup: fw; values stay at their final values once `s > T - fw * W`.
      threshold: τ first and last.
      density: target density first and last.
      penalty: λ, at the end of the schedule.

    Raises:
      ValueError: the holds leave no steps for the schedule to move in.
    """
    start, stop = initial_warmup * warmup_steps, steps - final_warmup * warmup_steps
    if stop <= start:
        raise ValueError(
            f"schedule of {steps} steps: held until step {start:g} and again from step {stop:g}; "
            "expected the first before the second: take more epochs, a shorter warm-up, or smaller "
            "initial_warmup and final_warmup"
        )

    def values(step: Int[Array, ""] | int) -> ScheduleValues:
        remaining = 1 - (jnp.asarray(step, jnp.float32) - start) / (stop - start)
        remaining = jnp.clip(remaining, 0.0, 1.0)
        cube = remaining**3

        def between(ends: tuple[Number, Number]) -> Float[Array, ""]:
            return ends[0] * cube + ends[1] * (1 - cube)  # exact at both ends

        tau = between(threshold)
        ratio = tau / threshold[1] if threshold[1] else jnp.ones(())
        return ScheduleValues(tau, penalty * ratio, between(density), 1 - remaining)

    return values
