"""The sublayers of a BERT, on activations kept as [tokens, hidden], with masks optional."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.models.bert.config import BertConfig
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.attention import Mask, attend, scores_of
from bpjax.models.layers.collections import APPROXIMATIONS, INTERMEDIATES, SCORES, SHARE, STREAM
from bpjax.models.layers.dropout import drop, dropout_key
from bpjax.models.layers.linear import Bias, Linear, joint_affine
from bpjax.models.layers.norm import LayerNorm


class SelfAttention(nn.Module):
    """Multi-head self-attention, its residual and its norm; `heads` may be 0."""

    config: BertConfig
    heads: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens hidden"],
        mask: Mask,
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Mixes each token with the unmasked tokens of its row."""
        config = self.config
        if self.heads:
            size = self.heads * config.head_dim
            layers = [Linear(size, config, name=name) for name in ("query", "key", "value")]
            projected = joint_affine(x, layers, config).reshape(
                *mask.shape[:2], -1, config.head_dim
            )
            query, key, value = jnp.split(projected, 3, axis=2)
            if self.is_mutable_collection(INTERMEDIATES):  # somebody distils from them
                self.sow(INTERMEDIATES, SCORES, scores_of(query, key))
            mixed = attend(
                query,
                key,
                value,
                mask,
                dropout=config.attention_dropout,
                rng=dropout_key(self, deterministic),
            )
            out = Linear(config.hidden_size, config, name="output")(mixed.reshape(-1, size))
        else:
            out = Bias(config.hidden_size, config.activation_dtype, name="output")()
        return _add_and_norm(self, x, out, deterministic)


class FeedForward(nn.Module):
    """The feed-forward sublayer, its residual and its norm; `size` may be 0.

    The variable `approximations/share` says how much of the activation is ReLU's, on the way to it.
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
            if self.has_variable(APPROXIMATIONS, SHARE):
                inner += self.get_variable(APPROXIMATIONS, SHARE) * (jax.nn.relu(before) - inner)
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
    rng = dropout_key(module, deterministic)
    out = drop(jnp.broadcast_to(out, x.shape), config.hidden_dropout, rng)
    stream = x + out
    if module.is_mutable_collection(INTERMEDIATES):  # somebody fits the sublayer
        module.sow(INTERMEDIATES, STREAM, stream)
    return LayerNorm(config, name="norm")(stream)
