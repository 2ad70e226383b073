"""Block movement pruning: learned scores (Sanh et al. 2020; Lagunas et al. 2021, section 3)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.pruning import masks
from bpjax.pruning.methods.base import (
    Method,
    MethodState,
    average_by_kind,
    keep_state,
    kind_weights,
    no_penalty,
    require,
)
from bpjax.pruning.methods.ranking import RANKINGS, ranking, require_n_of_m
from bpjax.pruning.patterns import Pattern

BINARIZERS = ("sigmoid_threshold", "threshold", *RANKINGS)


def movement(
    pattern: Pattern,
    *,
    binarizer: str = "sigmoid_threshold",
    floor: float | int = 0.0,
    n_of_m: tuple[int, int] = (2, 4),
    attention_weight: float | int = 1.0,
    ffn_weight: float | int = 1.0,
    weights: Sequence[tuple[str, Any]] = (),
) -> Method:
    """Scores start at zero and follow the gradient that their blocks' weights would have felt.

    The penalty on scores that thresholds cut is λ_s times the mean of σ(score), averaged by
    `average_by_kind`.

    Args:
      pattern: which kernels are scored, in what blocks.
      binarizer: "sigmoid_threshold" (soft movement pruning), "threshold", "top_k" or "n_m".
      floor: fraction of each array's blocks that the threshold binarizers never remove.
      n_of_m: what "n_m" keeps of every run of inputs, see `ranking`.
      attention_weight: of the attention's scores in the penalty.
      ffn_weight: of the feed-forward scores in the penalty.
      weights: (kind, weight) pairs of other kinds of sublayers; 1 where a kind is not named.

    Raises:
      ValueError: an unknown binarizer, a floor outside [0, 1], a negative weight, n beyond m, or a
        pattern that "n_m" cannot serve.
    """
    if binarizer not in BINARIZERS:
        raise ValueError(f"binarizer is {binarizer!r}: expected one of {', '.join(BINARIZERS)}")
    require("floor", floor, 0, 1)
    require_n_of_m(n_of_m)
    rank = ranking(pattern, binarizer, n_of_m) if binarizer in RANKINGS else None
    by_kind = kind_weights(attention_weight, ffn_weight, weights)

    def init(rng, params):
        del rng, params
        return MethodState({group.name: jnp.zeros(group.shape) for group in pattern.groups}, ())

    def binarize(scores, scheduled):
        if binarizer == "threshold":
            return masks.threshold(scores, scheduled.threshold, floor)
        return masks.sigmoid_threshold(scores, scheduled.threshold, floor)

    def mask_values(state, params, scheduled, rng):
        del params, rng
        if rank:
            return rank.keep(state.learned, scheduled)
        return {name: binarize(scores, scheduled) for name, scores in state.learned.items()}

    def penalty(state, params, scheduled):
        del params
        alive = jax.tree.map(jax.nn.sigmoid, state.learned)
        return scheduled.penalty * average_by_kind(pattern, alive, by_kind)

    if rank:  # which keeps what it keeps, however it is pushed
        return Method(init, mask_values, no_penalty, keep_state, rank.penalized, rank.cut_by)
    cut_by = "threshold" if binarizer == "sigmoid_threshold" else None
    return Method(init, mask_values, penalty, keep_state, cut_by=cut_by)
