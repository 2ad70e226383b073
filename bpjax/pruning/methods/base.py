"""What a pruning method is: four pure functions over pytrees, in the manner of optax."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.schedules import ScheduleValues


class MethodState(NamedTuple):
    """A method's own arrays.

    Attributes:
      learned: scores and multipliers that the optimizer moves by their gradient.
      fixed: what only `update` and `calibrate` change, such as frozen masks.
    """

    learned: PyTree
    fixed: PyTree


class Method(NamedTuple):
    """A pruning method for one pattern. All its functions can be jitted and sharded.

    Attributes:
      init: `(rng, params) -> state`.
      masks: `(state, params, scheduled, rng) -> mask values` by group name at score resolution,
        with straight-through gradients; rng None means evaluation.
      penalty: `(state, params, scheduled) -> scalar`, added to the loss; includes the weight λ_s.
      update: `(state, params, scheduled, step) -> (state, params)`, called after the optimizer:
        reweighting, clamping, freezing, hard masking.
      penalized: whether the penalty λ decides how much goes.
      cut_by: what cuts the masks more or less deeply at given scores, in [0, 1]: "threshold"
        (rising) or "density" (falling); None where nothing does.
      calibrate: `(state, norms) -> state` of a method that cuts a finished model by what its
        kernels are multiplied with: the root mean square of each input dimension, `[in]` by the
        kernel's path ("layer_0/ffn/in"). None for methods that need no data but the loss.
    """

    init: Callable[[Key[Array, ""], dict], MethodState]
    masks: Callable[[MethodState, dict, ScheduleValues, Key[Array, ""] | None], Scores]
    penalty: Callable[[MethodState, dict, ScheduleValues], Float[Array, ""]]
    update: Callable[[MethodState, dict, ScheduleValues, Int[Array, ""]], tuple[MethodState, dict]]
    penalized: bool = True
    cut_by: str | None = None
    calibrate: Callable[[MethodState, dict[str, Array]], MethodState] | None = None


def average_by_kind(
    pattern: Pattern, values: Scores, attention_weight: float | int, ffn_weight: float | int
) -> Float[Array, ""]:
    """Mean of each array, averaged over the arrays of a kind; kinds weighted, over their number.

    The form of every penalty on scores (Lagunas et al. 2021, section 3).

    Args:
      pattern: gives the kind of each array.
      values: one number a score, by group name.
      attention_weight: of the attention's arrays.
      ffn_weight: of the feed-forward arrays.
    """
    weights = {"attention": attention_weight, "ffn": ffn_weight}
    means: dict[str, list[Array]] = {}
    for group in pattern.groups:
        means.setdefault(group.kind, []).append(values[group.name].mean())
    total = jnp.zeros(())
    for kind, found in means.items():
        total += weights[kind] * sum(found) / len(found)
    return total / max(1, len(means))


def require(name: str, value: float | int, low: float | int, high: float | int = math.inf) -> None:
    """Refuses an option out of range.

    Raises:
      ValueError: it is not a number in [low, high].
    """
    if not low <= value <= high:
        bound = f"at least {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
        raise ValueError(f"{name} is {value!r}: expected a number {bound}")


def keep_state(
    state: MethodState, params: dict, scheduled: ScheduleValues, step: Int[Array, ""] | int
) -> tuple[MethodState, dict]:
    """The `update` of a method that has nothing to do after the optimizer."""
    del scheduled, step
    return state, params


def no_penalty(state: MethodState, params: dict, scheduled: ScheduleValues) -> Float[Array, ""]:
    """The `penalty` of a method that adds nothing to the loss."""
    del state, params, scheduled
    return jnp.zeros(())
