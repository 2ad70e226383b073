"""Activation-aware one-shot pruning: |W| times the size of its input (Wanda; Sun et al. 2024)."""

import jax
import jax.numpy as jnp

from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.methods.ranking import ranking
from bpjax.pruning.patterns import Pattern, mean_over_blocks
from bpjax.pruning.structure import at, put


def activation(
    pattern: Pattern, *, binarizer: str = "top_k", n_of_m: tuple[int, int] = (2, 4)
) -> Method:
    """Keeps the blocks with the largest mean of |W_ij|·‖x_i‖ of each score array.

    ‖x_i‖ is the root mean square of the kernel's input i over the calibration rows, see
    `Method.calibrate`. Nothing is learned and nothing trained: the finished dense model is cut.
    The paper ranks the weights of each output by themselves; here the blocks of a score array are
    ranked, which every pattern has, or with "n_m" every m inputs of an output, as there.

    Args:
      pattern: which kernels are scored, in what blocks.
      binarizer: "top_k", by `scheduled.density`, or "n_m".
      n_of_m: what "n_m" keeps of every run of inputs, see `ranking`.

    Raises:
      ValueError: what `ranking` refuses.
    """
    rank = ranking(pattern, binarizer, n_of_m)
    paths = {target.path for group in pattern.groups for target in group.targets}

    def init(rng, params):
        del rng
        # All inputs alike, which is magnitude, until they are measured.
        return MethodState({}, {"/".join(p): jnp.ones(len(at(params, p)["kernel"])) for p in paths})

    def mask_values(state, params, scheduled, rng):
        del rng
        scaled = params
        for path in paths:
            norms = state.fixed["/".join(path)][:, None]
            scaled = put(scaled, (*path, "kernel"), at(params, path)["kernel"] * norms)
        scores = jax.lax.stop_gradient(mean_over_blocks(pattern, scaled, jnp.abs))
        return rank.keep(scores, scheduled)

    def calibrate(state, norms):
        return MethodState(state.learned, {path: norms[path] for path in state.fixed})

    return Method(
        init,
        mask_values,
        no_penalty,
        keep_state,
        rank.penalized,
        rank.cut_by,
        calibrate=calibrate,
    )
