"""What a pruning method is: four pure functions over pytrees, in the manner of optax."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, Int, Key, PyTree

from bpjax.pruning.patterns import Scores
from bpjax.pruning.schedules import Knobs


class MethodState(NamedTuple):
    """A method's own arrays.

    Attributes:
      learned: scores and multipliers that the optimizer moves by their gradient.
      fixed: what only `update` changes, such as frozen masks.
    """

    learned: PyTree
    fixed: PyTree


class Method(NamedTuple):
    """A pruning method for one pattern. All four functions can be jitted and sharded.

    Attributes:
      init: `(rng, params) -> state`.
      masks: `(state, params, knobs, rng) -> mask values` by group name at score resolution, with
        straight-through gradients; rng None means evaluation.
      penalty: `(state, params, knobs) -> scalar`, added to the loss; includes the weight λ_s.
      update: `(state, params, knobs, step) -> (state, params)`, called after the optimizer:
        reweighting, clamping, freezing, hard masking.
    """

    init: Callable[[Key[Array, ""], dict], MethodState]
    masks: Callable[[MethodState, dict, Knobs, Key[Array, ""] | None], Scores]
    penalty: Callable[[MethodState, dict, Knobs], Float[Array, ""]]
    update: Callable[[MethodState, dict, Knobs, Int[Array, ""]], tuple[MethodState, dict]]


def keep_state(
    state: MethodState, params: dict, knobs: Knobs, step: Int[Array, ""] | int
) -> tuple[MethodState, dict]:
    """The `update` of a method that has nothing to do after the optimizer."""
    del knobs, step
    return state, params
