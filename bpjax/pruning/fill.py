"""Fill: makes the surviving units of a shrunken model dense again."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from bpjax.pruning.structure import Structure, put, read

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
      structure: where it keeps its units.
      rng: noise key.
    """
    for _, kernel in structure.kernels():
        weights = jnp.asarray(read(params, kernel)[0])
        rng, key = jax.random.split(rng)
        std = weights.std()
        noise = NOISE * jnp.where(std > 0, std, INITIAL)
        noise *= jax.random.normal(key, weights.shape, weights.dtype)
        params = put(params, (*kernel.path, "kernel"), jnp.where(weights == 0, noise, weights))
    return params
