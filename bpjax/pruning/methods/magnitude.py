"""Magnitude pruning: a block's score is the mean absolute weight in it (Han et al. 2015)."""

import jax
import jax.numpy as jnp

from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.methods.ranking import ranking
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection, mean_over_blocks


def magnitude(
    pattern: Pattern,
    *,
    permanent: bool = False,
    binarizer: str = "top_k",
    n_of_m: tuple[int, int] = (2, 4),
) -> Method:
    """Keeps the blocks with the largest mean |W| of each score array.

    Blocks that several kernels share are scored over all of their weights. Nothing is learned
    but the weights, and masked weights get no gradient, so a block that died stays small.

    Args:
      pattern: which kernels are scored, in what blocks.
      permanent: set masked weights to zero after every step, so that what died stays so (Xu et al.
        2021); else they keep their values, and come back where the others shrink below them.
      binarizer: "top_k", by `scheduled.density`, or "n_m".
      n_of_m: what "n_m" keeps of every run of inputs, see `ranking`.

    Raises:
      ValueError: what `ranking` refuses.
    """
    rank = ranking(pattern, binarizer, n_of_m)

    def init(rng, params):
        del rng, params
        return MethodState({}, ())

    def mask_values(state, params, scheduled, rng):
        del state, rng
        # A binarizer counts as the identity backward; a magnitude must not pull on its own weights.
        scores = jax.lax.stop_gradient(mean_over_blocks(pattern, params, jnp.abs))
        return rank.keep(scores, scheduled)

    def cut(state, params, scheduled, step):
        del step
        masked = build_mask_collection(pattern, mask_values(state, params, scheduled, None))
        return state, apply_masks(params, masked)

    update = cut if permanent else keep_state
    return Method(init, mask_values, no_penalty, update, rank.penalized, rank.cut_by)
