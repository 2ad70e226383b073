"""Layer normalisation, which a scale and a shift may take the place of."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.models.layers.collections import APPROXIMATIONS, HIDDEN, MASKS, REAL, SHARE

NORMS = ("layer", "affine")
"""Of a config: each token is normalised, or scaled and shifted only."""


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, computed in at least float32.

    Where `config.norm` is "affine" it only scales and shifts. On the way there, the variable
    `approximations/share` says how much of the result is that of all tokens normalised alike, by
    the average mean and variance of those where `approximations/real` is 1. The variable
    `masks/hidden` has one value for each dimension: those of 0 count for nothing, as if they were
    not there, and the others are multiplied by theirs (Xia et al. 2022).

    `config` has `norm`, `norm_eps` and `activation_dtype`.
    """

    config: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*batch hidden"]) -> Float[Array, "*batch hidden"]:
        """Normalises, scales and shifts."""
        config = self.config
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mask = self.hidden_mask()
        if config.norm == "layer":
            mean, variance = token_moments(wide, mask)
            normal = (wide - mean) * jax.lax.rsqrt(variance + config.norm_eps)
            if self.has_variable(APPROXIMATIONS, SHARE):
                real: Array = self.get_variable(APPROXIMATIONS, REAL).reshape(*x.shape[:-1], 1)
                mean, variance = jax.lax.stop_gradient(
                    [jnp.average(moment, weights=real) for moment in (mean, variance)]
                )
                alike = (wide - mean) * jax.lax.rsqrt(variance + config.norm_eps)
                normal += self.get_variable(APPROXIMATIONS, SHARE) * (alike - normal)
            wide = normal
        if mask is not None:
            scale, bias = scale * mask, bias * mask
        return (wide * scale + bias).astype(config.activation_dtype)

    def hidden_mask(self) -> Float[Array, " hidden"] | None:
        """One value a dimension of the hidden state, if it is masked."""
        masked = self.has_variable(MASKS, HIDDEN)
        return self.get_variable(MASKS, HIDDEN) if masked else None


def token_moments(
    x: Float[Array, "*batch hidden"], mask: Float[Array, " hidden"] | None = None
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch 1"]]:
    """Mean and variance of each token, over unmasked dimensions: what normalisation takes out."""
    alive = None if mask is None else mask != 0
    mean = x.mean(-1, keepdims=True, where=alive)
    return mean, jnp.mean((x - mean) ** 2, -1, keepdims=True, where=alive)
