"""BERT (Devlin et al. 2019) and its family: post-norm, per-layer sizes, masks, task heads."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from bpjax.errors import UserError
from bpjax.models.attention import drop
from bpjax.models.config import BertConfig
from bpjax.models.families import FAMILIES
from bpjax.models.heads import HEADS
from bpjax.models.layers import ACTIVATIONS, FeedForward, LayerNorm, Linear, SelfAttention
from bpjax.pruning import structure
from bpjax.pruning.surgery import Activation

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a model reads of a batch, in the order of its arguments."""


class Outputs(NamedTuple):
    """What a forward pass returns.

    Attributes:
      hidden: the last layer's states, `[batch, length, hidden]`; None where only the logits are
        known, of a teacher that was not run.
      logits: `[batch, num_labels]`, or `[batch, length, num_labels]` of a head by token; None
        without a head.
      hidden_states: when asked for, the embeddings' output and then each layer's.
      attention_scores: of each layer that has heads, before the softmax, padding included; the
        modules sow them as `scores` in the collection `intermediates`, from where
        `training.evaluation.apply` fills this in.
    """

    hidden: Float[Array, "batch length hidden"] | None
    logits: Float[Array, "batch *labels"] | None
    hidden_states: tuple[Float[Array, "batch length hidden"], ...] = ()
    attention_scores: tuple[Float[Array, "batch _ length length"], ...] = ()


class Bert(nn.Module):
    """A BERT encoder and its task head.

    Variables: `params`, and optionally `masks`, a tree of `BlockMask` at the kernels' paths, and
    `replaced`, see `training.replacement`.
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
    ) -> Outputs:
        """Runs the encoder and the head.

        Args:
          input_ids: token ids.
          attention_mask: 1 for real tokens, 0 for padding, which ends a row.
          token_type_ids: 0 for the first segment, 1 for the second.
          deterministic: no dropout.
          hidden_states: also return the states after the embeddings and after each layer.

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

        x = Embeddings(config, name="embeddings")(input_ids, token_type_ids, deterministic)
        states = [x]
        # Its argument `deterministic`, counted after the module, is a Python bool.
        layer: Any = nn.remat(Layer, static_argnums=(3,)) if config.remat else Layer
        for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
            x = layer(config, heads, size, name=f"layer_{i}")(x, attention_mask, deterministic)
            states.append(x)

        def by_row(x):
            return x.reshape(batch, length, -1)

        x = by_row(x)
        return Outputs(
            hidden=x,
            logits=self._head(x, deterministic),
            hidden_states=tuple(map(by_row, states)) if hidden_states else (),
        )

    def _head(self, x, deterministic):
        config, family = self.config, FAMILIES[self.config.family]
        if config.head == "none":
            if family.base_pooler:
                self._pool(x)  # for its parameters, which such checkpoints hold
            return None
        states = x if HEADS[config.head].per_token else self._pool(x)
        if config.head != "span":
            rng = None if deterministic else self.make_rng("dropout")
            states = drop(states, config.hidden_dropout, rng)
        logits = Linear(config.num_labels, config, name="head")(states)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def _pool(self, x):
        activations = {"tanh": jnp.tanh, "relu": jax.nn.relu}
        activation = activations[FAMILIES[self.config.family].pooler_activation]
        return activation(Linear(self.config.pooled, self.config, name="pooler")(x[:, 0]))


class Embeddings(nn.Module):
    """Word, position and token type embeddings, summed and normalised."""

    config: BertConfig

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "batch length"],
        token_type_ids: Int[Array, "batch length"],
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Embeds tokens, flattened to `[batch · length, hidden]`."""
        config = self.config
        initializer = nn.initializers.normal(0.02)

        def table(size, name):
            return nn.Embed(size, config.hidden_size, embedding_init=initializer, name=name)

        x = table(config.vocab_size, "word")(input_ids)
        offset = FAMILIES[config.family].position_offset
        places = jnp.arange(offset, offset + input_ids.shape[1])
        x = x + table(config.max_positions + offset, "position")(places)
        if config.type_vocab_size:
            x = x + table(config.type_vocab_size, "token_type")(token_type_ids)
        x = LayerNorm(config, name="norm")(x)
        rng = None if deterministic else self.make_rng("dropout")
        return drop(x, config.hidden_dropout, rng).reshape(-1, config.hidden_size)


class Layer(nn.Module):
    """One transformer layer with the sizes it has left."""

    config: BertConfig
    heads: int
    size: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens hidden"],
        mask: Int[Array, "batch length"],
        deterministic: bool,
    ) -> Float[Array, "tokens hidden"]:
        """Attention, then feed-forward."""
        x = SelfAttention(self.config, self.heads, name="attention")(x, mask, deterministic)
        return FeedForward(self.config, self.size, name="ffn")(x, deterministic)


def init(config: BertConfig, rng: Key[Array, ""]) -> dict:
    """Fresh parameters: normal(0.02) kernels and embeddings, zero biases, unit norms."""
    ids = jnp.zeros((1, 2), jnp.int32)
    return jax.jit(Bert(config).init)(rng, ids, ids, ids)["params"]


def activation(config: BertConfig) -> Activation:
    """That of the feed-forward layers, for surgery."""
    return ACTIVATIONS[config.activation]


def describe(config: BertConfig) -> structure.Structure:
    """Where a BERT of this config keeps its heads and its dimensions."""
    layers = []
    for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
        name = f"layer_{i}"
        attention = structure.Attention(
            query=(name, "attention", "query"),
            key=(name, "attention", "key"),
            value=(name, "attention", "value"),
            output=(name, "attention", "output"),
            heads=heads,
            head_dim=config.head_dim,
        )
        ffn = structure.FeedForward((name, "ffn", "in"), (name, "ffn", "out"), size=size)
        layers.append(structure.Layer(name, attention, ffn))
    tables = ("word", "position", *["token_type"] * bool(config.type_vocab_size))
    has_head = config.head != "none"
    reader = "head" if has_head and HEADS[config.head].per_token else "pooler"
    has_reader = has_head or FAMILIES[config.family].base_pooler
    hidden = structure.Hidden(
        tables=tuple(("embeddings", table) for table in tables),
        norms=(
            ("embeddings", "norm"),
            *((layer.name, part, "norm") for layer in layers for part in ("attention", "ffn")),
        ),
        readers=((reader,),) if has_reader else (),
    )
    return structure.Structure(tuple(layers), config.hidden_size, hidden)
