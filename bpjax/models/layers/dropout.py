"""Dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout_key(module: nn.Module, deterministic: bool) -> Key[Array, ""] | None:
    """The next key of a module's stream "dropout"; None for no dropout."""
    return None if deterministic else module.make_rng("dropout")


def drop(
    x: Float[Array, "*batch n"], rate: float | int, rng: Key[Array, ""] | None
) -> Float[Array, "*batch n"]:
    """Dropout: zeroes entries with probability `rate` and scales the rest.

    The rate, in [0, 1), is rounded to 1/256. Without `rng` it is the identity.
    """
    level = min(round(rate * 256), 255)
    if rng is None or level == 0:
        return x
    # Random bits are a visible part of a training step on CPU. The generator spends as much on 8
    # of them as on 32, so each word is drawn once and serves four entries.
    *batch, n = x.shape
    words = jax.random.bits(_generator(rng), (*batch, -(-n // 4)), jnp.uint32)
    octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*batch, -1)[..., :n]
    return jnp.where(octets >= level, x * (256 / (256 - level)), jnp.zeros((), x.dtype))


def _generator(rng: Key[Array, ""]) -> Key[Array, ""]:
    """A key of the accelerator's own generator, which draws faster than JAX's."""
    # Of several devices each would draw the bits of all.
    if jax.default_backend() == "cpu" or jax.device_count() > 1:
        return rng
    return jax.random.wrap_key_data(jax.random.bits(rng, (4,), jnp.uint32), impl="rbg")
