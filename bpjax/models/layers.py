"""The layers of a BERT, on activations kept as [tokens, hidden], with masks optional."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.models.attention import attend, drop
from bpjax.models.config import BertConfig
from bpjax.models.products import product
from bpjax.pruning.blocks import BlockMask
from bpjax.pruning.surgery import Activation

ACTIVATIONS: dict[str, Activation] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
}
"""By the name in the model's config."""

_INITIALIZER = nn.initializers.normal(0.02)


class Linear(nn.Module):
    """`x @ kernel + bias`, masked if there is a mask.

    The mask is a `BlockMask` in the variable collection `masks`, beside `params`, under the name
    `kernel`.
    """

    features: int
    config: BertConfig

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis."""
        return affine(x, *self.weights(x.shape[-1]), self.config)

    @nn.compact
    def weights(self, inputs: int) -> tuple[Float[Array, "in out"], Float[Array, " out"]]:
        """Kernel `[inputs, features]` and bias `[features]`, masked if there is a mask.

        For callers that make one product of several layers.
        """
        kernel = self.param("kernel", _INITIALIZER, (inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.has_variable("masks", "kernel"):
            mask: BlockMask = self.get_variable("masks", "kernel")
            kernel, bias = mask.apply(kernel, bias)
        return kernel, bias


def affine(
    x: Float[Array, "*batch in"],
    kernel: Float[Array, "in out"],
    bias: Float[Array, " out"],
    config: BertConfig,
) -> Float[Array, "*batch out"]:
    """`x @ kernel + bias` in the compute types of `config`."""
    # The bias joins before the result is rounded, so that its gradient is a sum of float32.
    out = product(x, kernel, config.product_dtype)
    return (out + bias.astype(out.dtype)).astype(config.activation_dtype)


class Bias(nn.Module):
    """What is left of a sublayer's output layer when all that fed it was removed."""

    features: int
    dtype: str

    @nn.compact
    def __call__(self) -> Float[Array, " out"]:
        """The bias `[features]`."""
        return self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, computed in at least float32.

    Where `config.norm` is "affine" it only scales and shifts. On the way there, the variable
    `replaced/share` says how much of the result is that of all tokens normalised alike, by the
    average mean and variance of those where `replaced/real` is 1. The variable `masks/hidden` has
    one value for each dimension: those of 0 count for nothing, as if they were not there, and the
    others are multiplied by theirs (Xia et al. 2022).
    """

    config: BertConfig

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
            if self.has_variable("replaced", "share"):
                real: Array = self.get_variable("replaced", "real").reshape(*x.shape[:-1], 1)
                mean, variance = jax.lax.stop_gradient(
                    [jnp.average(moment, weights=real) for moment in (mean, variance)]
                )
                alike = (wide - mean) * jax.lax.rsqrt(variance + config.norm_eps)
                normal += self.get_variable("replaced", "share") * (alike - normal)
            wide = normal
        if mask is not None:
            scale, bias = scale * mask, bias * mask
        return (wide * scale + bias).astype(config.activation_dtype)

    def hidden_mask(self) -> Float[Array, " hidden"] | None:
        """One value a dimension of the hidden state, if it is masked."""
        masked = self.has_variable("masks", "hidden")
        return self.get_variable("masks", "hidden") if masked else None


def token_moments(
    x: Float[Array, "*batch hidden"], mask: Float[Array, " hidden"] | None = None
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch 1"]]:
    """Mean and variance of each token, over unmasked dimensions: what normalisation takes out."""
    alive = None if mask is None else mask != 0
    mean = x.mean(-1, keepdims=True, where=alive)
    return mean, jnp.mean((x - mean) ** 2, -1, keepdims=True, where=alive)


class SelfAttention(nn.Module):
    """Multi-head self-attention, its residual and its norm; `heads` may be 0."""

    config: BertConfig
    heads: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens hidden"],
        mask: Int[Array, "batch length"],
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Mixes each token with the unmasked tokens of its row."""
        config = self.config
        if self.heads:
            size = self.heads * config.head_dim
            weights = [
                Linear(size, config, name=name).weights(config.hidden_size)
                for name in ("query", "key", "value")
            ]
            # One product for the three: a wide matrix keeps the machine busier than three.
            kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*weights, strict=True))
            projected = affine(x, kernel, bias, config).reshape(*mask.shape, -1, config.head_dim)
            query, key, value = jnp.split(projected, 3, axis=2)
            if self.is_mutable_collection("intermediates"):  # somebody distils from them
                scores = jnp.einsum("blhd,bmhd->bhlm", query, key) / math.sqrt(config.head_dim)
                self.sow("intermediates", "scores", scores)
            mixed = attend(
                query,
                key,
                value,
                mask,
                dropout=config.attention_dropout,
                rng=None if deterministic else self.make_rng("dropout"),
            )
            out = Linear(config.hidden_size, config, name="output")(mixed.reshape(-1, size))
        else:
            out = Bias(config.hidden_size, config.activation_dtype, name="output")()
        return _add_and_norm(self, x, out, deterministic)


class FeedForward(nn.Module):
    """The feed-forward sublayer, its residual and its norm; `size` may be 0.

    The variable `replaced/share` says how much of the activation is ReLU's, on the way to it.
    """

    config: BertConfig
    size: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "tokens hidden"], deterministic: bool
    ) -> Float[Array, "tokens hidden"]:
        """Transforms each token by itself."""
        config = self.config
        if self.size:
            inner = Linear(self.size, config, name="in")(x)
            before, inner = inner, ACTIVATIONS[config.activation](inner)
            if self.has_variable("replaced", "share"):
                inner += self.get_variable("replaced", "share") * (jax.nn.relu(before) - inner)
            out = Linear(config.hidden_size, config, name="out")(inner)
        else:
            out = Bias(config.hidden_size, config.activation_dtype, name="out")()
        return _add_and_norm(self, x, out, deterministic)


def _add_and_norm(
    module: SelfAttention | FeedForward,
    x: Float[Array, "tokens hidden"],
    out: Float[Array, "*tokens hidden"],
    deterministic: bool,
) -> Float[Array, "tokens hidden"]:
    config = module.config
    rng = None if deterministic else module.make_rng("dropout")
    out = drop(jnp.broadcast_to(out, x.shape), config.hidden_dropout, rng)
    return LayerNorm(config, name="norm")(x + out)
