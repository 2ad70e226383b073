"""Block movement pruning: learned scores (Sanh et al. 2020; Lagunas et al. 2021, section 3)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from bpjax.pruning import masks
from bpjax.pruning.methods.base import Method, MethodState, keep_state
from bpjax.pruning.patterns import KINDS, Pattern

BINARIZERS = ("sigmoid_threshold", "threshold", "top_k")


def movement(
    pattern: Pattern,
    *,
    binarizer: str = "sigmoid_threshold",
    floor: float | int = 0.0,
    kind_weights: Mapping[str, float | int] | None = None,
) -> Method:
    """Scores start at zero and follow the gradient that their blocks' weights would have felt.

    The penalty is the mean of σ(score) in each array, averaged over the arrays of a kind; the
    kinds are weighted, summed and divided by their number; times λ_s.

    Args:
      pattern: which kernels are scored, in what blocks.
      binarizer: "sigmoid_threshold" (soft movement pruning), "threshold" or "top_k".
      floor: fraction of each array's blocks that the threshold binarizers never remove.
      kind_weights: weight of each kind ("attention", "ffn") in the penalty; 1 where not given.

    Raises:
      ValueError: an unknown binarizer or kind, or a floor outside [0, 1].
    """
    if binarizer not in BINARIZERS:
        raise ValueError(f"binarizer {binarizer!r}: expected one of {', '.join(BINARIZERS)}")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor {floor!r}: expected a fraction in [0, 1]")
    weights = dict.fromkeys(KINDS, 1.0) | dict(kind_weights or {})
    if len(weights) > len(KINDS):
        raise ValueError(f"kind_weights {dict(weights)}: expected weights of {', '.join(KINDS)}")
    kinds = sorted({group.kind for group in pattern.groups})

    def init(rng, params):
        del rng, params
        return MethodState({group.name: jnp.zeros(group.shape) for group in pattern.groups}, ())

    def binarize(scores, knobs):
        if binarizer == "top_k":
            return masks.top_k(scores, knobs.density)
        if binarizer == "threshold":
            return masks.threshold(scores, knobs.threshold, floor)
        return masks.sigmoid_threshold(scores, knobs.threshold, floor)

    def mask_values(state, params, knobs, rng):
        del params, rng
        return {name: binarize(scores, knobs) for name, scores in state.learned.items()}

    def penalty(state, params, knobs):
        del params
        total = jnp.zeros(())
        for kind in kinds:
            names = [group.name for group in pattern.groups if group.kind == kind]
            means = [jax.nn.sigmoid(state.learned[name]).mean() for name in names]
            total += weights[kind] * sum(means) / len(means)
        return knobs.penalty * total / max(1, len(kinds))

    return Method(init, mask_values, penalty, keep_state)
