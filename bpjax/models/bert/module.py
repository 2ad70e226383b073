"""BERT (Devlin et al. 2019) and its family: post-norm, per-layer sizes, masks, task heads."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.errors import UserError
from bpjax.models.architecture import Outputs
from bpjax.models.bert.config import BertConfig
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.bert.sublayers import FeedForward, SelfAttention
from bpjax.models.heads import HEADS
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS, TOKEN_TYPES, Input
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.attention import Mask
from bpjax.models.layers.dropout import drop, dropout_key
from bpjax.models.layers.embedding import Table
from bpjax.models.layers.linear import Linear
from bpjax.models.layers.norm import LayerNorm
from bpjax.models.layers.packing import Packing


def inputs(config: BertConfig) -> tuple[Input, ...]:
    """Tokens, which of them are real, and their segments, which DistilBERT has no use for."""
    return (
        Input(INPUT_IDS, ("length",), fill=config.padding, below=config.vocab_size),
        Input(ATTENTION_MASK, ("length",)),
        Input(TOKEN_TYPES, ("length",), below=config.type_vocab_size),
    )


class Bert(nn.Module):
    """A BERT encoder and its task head.

    Variables: `params`, and optionally `masks`, a tree of `BlockMask` at the kernels' paths, and
    `approximations`, see `training.approximations`.
    Dropout needs an rng named `dropout` when `deterministic` is False.
    """

    config: BertConfig

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "batch length"],
        attention_mask: Int[Array, "batch length"],
        token_type_ids: Int[Array, "batch length"],
        deterministic: bool = True,
        hidden_states: bool = False,
        packed: Int[Array, "bins size"] | None = None,
    ) -> Outputs:
        """Runs the encoder and the head.

        Args:
          input_ids: token ids.
          attention_mask: 1 for real tokens, 0 for padding, which ends a row.
          token_type_ids: 0 for the first segment, 1 for the second.
          deterministic: no dropout.
          hidden_states: also return the states after the embeddings and after each layer.
          packed: how the rows lie in bins, which layers then compute instead of them, see
            `inputs.PACKED`. What is returned is that of the rows, with 0 at padding.

        Raises:
          UserError: rows longer than the model has positions for.
        """
        config = self.config
        batch, length = input_ids.shape
        if length > config.max_positions:
            raise UserError(
                f"input of {length} tokens: expected at most {config.max_positions}, the positions "
                "that the model has; cut the rows or split them"
            )

        packing = None if packed is None else Packing.of(packed, batch, length)
        mask = attention_mask if packing is None else packing.pairs()
        x = Embeddings(config, name="embeddings")(input_ids, token_type_ids, packing, deterministic)
        states = {"embeddings": x}
        # Its argument `deterministic`, counted after the module, is a Python bool.
        layer: Any = nn.remat(Layer, static_argnums=(3,)) if config.remat else Layer
        for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
            x = layer(config, heads, size, name=f"layer_{i}")(x, mask, deterministic)
            states[f"layer_{i}"] = x

        def by_row(x):
            return packing.unpack(x) if packing else x.reshape(batch, length, -1)

        x = by_row(x)
        return Outputs(
            hidden=x,
            logits=self._head(x, attention_mask, deterministic),
            hidden_states={k: by_row(v) for k, v in states.items()} if hidden_states else {},
        )

    def _head(self, x, mask, deterministic):
        config = self.config
        if config.head == "none":
            if ENCODERS[config.model_type].base_pooler and config.pooled:
                self._pool(x)  # for its parameters, which such checkpoints hold
            return None
        if config.head == "embedding":
            return config.embedding.pool(x, mask)
        states = x if HEADS[config.head].per_token else self._pool(x)
        if config.head_rate:
            states = drop(states, config.head_rate, dropout_key(self, deterministic))
        logits = Linear(config.num_labels, config, name="head")(states)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def _pool(self, x):
        activations = {"tanh": jnp.tanh, **ACTIVATIONS}
        activation = activations[ENCODERS[self.config.model_type].pooler_activation]
        return activation(Linear(self.config.pooled, self.config, name="pooler")(x[:, 0]))


class Embeddings(nn.Module):
    """Word, position and token type embeddings, summed, normalised and perhaps projected."""

    config: BertConfig

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "batch length"],
        token_type_ids: Int[Array, "batch length"],
        packing: Packing | None,
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Embeds tokens, flattened to `[batch · length, hidden]`, or as they are packed."""
        config = self.config

        def embed(size, name, ids):
            return Table(size, config.embedded, config, name=name)(ids)

        places = jnp.arange(input_ids.shape[1])
        if ENCODERS[config.model_type].counts_tokens:
            real = input_ids != config.padding
            places = config.padding + real * jnp.cumsum(real, axis=1)
        if packing:
            places = packing.pack(jnp.broadcast_to(places, input_ids.shape))
            input_ids, token_type_ids = packing.pack(input_ids), packing.pack(token_type_ids)
        x = embed(config.vocab_size, "word", input_ids)
        x = x + embed(config.max_positions + config.first_position, "position", places)
        if config.type_vocab_size:
            x = x + embed(config.type_vocab_size, "token_type", token_type_ids)
        x = LayerNorm(config, name="norm")(x)
        rng = dropout_key(self, deterministic)
        x = drop(x, config.hidden_dropout, rng).reshape(-1, config.embedded)
        if config.embedding_size is None:
            return x
        return Linear(config.hidden_size, config, name="project")(x)


class Layer(nn.Module):
    """One transformer layer with the sizes it has left."""

    config: BertConfig
    heads: int
    size: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens hidden"],
        mask: Mask,
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Attention, then feed-forward."""
        x = SelfAttention(self.config, self.heads, name="attention")(x, mask, deterministic)
        return FeedForward(self.config, self.size, name="ffn")(x, deterministic)
