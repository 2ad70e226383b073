"""Fill: makes the surviving heads and dimensions of a shrunken model dense again."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from bpjax.pruning.structure import Structure, at, kernels, put

NOISE = 0.01
"""Standard deviation of the noise, as a fraction of its matrix's (Lagunas et al. 2021, code)."""

INITIAL = 0.02
"""Standard deviation of BERT's new weights (Devlin et al. 2019), for a matrix with none left."""


def fill(params: dict, structure: Structure, rng: Key[Array, ""]) -> dict:
    """Gives weights that are exactly zero a small start, so that fine-tuning can use them.

    A zero weight between two live channels learns anyway; a channel whose weights on both sides
    are zero would get no gradient at all. Noise of 0.01 × the matrix's standard deviation, as in
    the "hybrid-filled" recipe of Lagunas et al. 2021, section 4.

    Args:
      params: a shrunken model's parameters.
      structure: where it keeps its heads and feed-forward dimensions.
      rng: noise key.
    """
    for layer in structure.layers:
        for path in (*kernels(layer.attention), *kernels(layer.ffn)):
            kernel = jnp.asarray(at(params, path)["kernel"])
            rng, key = jax.random.split(rng)
            std = kernel.std()
            noise = NOISE * jnp.where(std > 0, std, INITIAL)
            noise *= jax.random.normal(key, kernel.shape, kernel.dtype)
            params = put(params, (*path, "kernel"), jnp.where(kernel == 0, noise, kernel))
    return params
