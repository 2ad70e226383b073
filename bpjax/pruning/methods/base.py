"""What a pruning method is: pure functions over pytrees, in the manner of optax."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from bpjax.pruning.costs import Cost
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.structure import Structure


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
      observe: `(state, squares) -> state`, called in every step until the schedule ends, and for a
        finished model that is cut without training: how far the outputs go with what is removed.
        `squares` has the mean over rows of `(∂L/∂m)²` for a gate m = 1 at each unit, by sublayer,
        and of blocks with scores of their own, by group, `(Σ W·∂L/∂W)²`; L is that of
        `training.importances.squared_gradients`. None for methods that need none of it.
      priced: `(structure, cost, round_to) -> Method`, of a method that finds by itself what to keep
        where `scheduled.density` is the fraction of the whole model's cost that may be left. What
        it returns takes its place. None for methods that `budget.within_budget` cuts.
      closed: `(state, mask values) -> state` of a method that goes on from an earlier run's masks.
      takes_streams: whether it also serves patterns with scores of residual streams' dimensions.
    """

    init: Callable[[Key[Array, ""], dict], MethodState]
    masks: Callable[[MethodState, dict, ScheduleValues, Key[Array, ""] | None], Scores]
    penalty: Callable[[MethodState, dict, ScheduleValues], Float[Array, ""]]
    update: Callable[[MethodState, dict, ScheduleValues, Int[Array, ""]], tuple[MethodState, dict]]
    penalized: bool = True
    cut_by: str | None = None
    calibrate: Callable[[MethodState, dict[str, Array]], MethodState] | None = None
    observe: Callable[[MethodState, Scores], MethodState] | None = None
    priced: Callable[[Structure, Cost, int], Any] | None = None  # it returns a Method
    closed: Callable[[MethodState, Scores], MethodState] | None = None
    takes_streams: bool = False


def average_by_kind(
    pattern: Pattern, values: Scores, weights: Mapping[str, float | int]
) -> Float[Array, ""]:
    """Mean of each array, averaged over the arrays of a kind; kinds weighted, over their number.

    The form of every penalty on scores (Lagunas et al. 2021, section 3).

    Args:
      pattern: gives the kind of each array.
      values: one number a score, by group name.
      weights: of the arrays of a kind; 1 where it is not named.
    """
    means: dict[str, list[Array]] = {}
    for group in pattern.groups:
        means.setdefault(group.kind, []).append(values[group.name].mean())
    total = jnp.zeros(())
    for kind, found in means.items():
        total += weights.get(kind, 1.0) * sum(found) / len(found)
    return total / max(1, len(means))


def kind_weights(
    attention_weight: float | int, ffn_weight: float | int, weights: Sequence[tuple[str, Any]]
) -> dict[str, float | int]:
    """The weight of each kind of sublayer in the penalty.

    Args:
      attention_weight: of kind "attention".
      ffn_weight: of kind "ffn".
      weights: (kind, weight) pairs of other kinds.

    Raises:
      ValueError: a weight that is negative or no number, or a pair that is none.
    """
    require("attention_weight", attention_weight, 0)
    require("ffn_weight", ffn_weight, 0)
    found = {"attention": attention_weight, "ffn": ffn_weight}
    for pair in weights:
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"weights has {pair!r}: expected (kind, weight)")
        require(f"weights of {pair[0]}", pair[1], 0)
        found[pair[0]] = pair[1]
    return found


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
