"""L0 regularisation by hard concrete gates (Louizos et al. 2018; Sanh et al. 2020, section 3)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.pruning.masks import hard_concrete, open_probability
from bpjax.pruning.methods.base import (
    Method,
    MethodState,
    average_by_kind,
    keep_state,
    kind_weights,
)
from bpjax.pruning.patterns import Pattern


def l0(
    pattern: Pattern,
    *,
    initial: float | int = 2.197,
    attention_weight: float | int = 1.0,
    ffn_weight: float | int = 1.0,
    weights: Sequence[tuple[str, Any]] = (),
) -> Method:
    """Random gates in training, whose probability of being open is penalised.

    A gate stretches a concrete variable beyond [0, 1] and clips it, so it can be exactly 0 or 1
    and still has a gradient. In evaluation it is the clipped stretched mean: what is kept need not
    be 1, and surgery folds such a value into the weights. The threshold, the schedule's or what a
    budget makes of it, is one under which σ(log α) is no gate in evaluation; draws heed none, so
    that all gates go on learning. The mean is 0 below 1/12 whatever it is. Sanh et al. 2020 take
    λ = 125 and a score learning rate of 0.1.

    Args:
      pattern: which kernels are scored, in what blocks.
      initial: log α at the start; 2.197 opens 9 gates of 10.
      attention_weight: of the attention's gates in the penalty.
      ffn_weight: of the feed-forward gates in the penalty.
      weights: (kind, weight) pairs of other kinds of sublayers; 1 where a kind is not named.

    Raises:
      ValueError: a negative weight.
    """
    by_kind = kind_weights(attention_weight, ffn_weight, weights)

    def init(rng, params):
        del rng, params
        return MethodState(
            {group.name: jnp.full(group.shape, initial, float) for group in pattern.groups}, ()
        )

    def mask_values(state, params, scheduled, rng):
        del params
        if rng is None:
            return {
                name: jnp.where(
                    jax.nn.sigmoid(log_alpha) > scheduled.threshold,
                    hard_concrete(log_alpha, None),
                    0.0,
                )
                for name, log_alpha in state.learned.items()
            }
        rngs = jax.random.split(rng, len(pattern.groups))
        return {
            group.name: hard_concrete(state.learned[group.name], key)
            for group, key in zip(pattern.groups, rngs, strict=True)
        }

    def penalty(state, params, scheduled):
        del params
        probability = jax.tree.map(open_probability, state.learned)
        return scheduled.penalty * average_by_kind(pattern, probability, by_kind)

    return Method(init, mask_values, penalty, keep_state, cut_by="threshold")
