"""BART (Lewis et al. 2020) and its relatives: an encoder, and a decoder that reads its output."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.errors import UserError
from bpjax.models.architecture import Outputs
from bpjax.models.bart.config import BartConfig
from bpjax.models.bart.sublayers import Attention, FeedForward, KeysValues, Size, Tokens
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.generation import Cache
from bpjax.models.heads import NO_LABEL
from bpjax.models.inputs import (
    ATTENTION_MASK,
    INPUT_IDS,
    LABEL,
    LENGTH,
    TARGET_LENGTH,
    Input,
)
from bpjax.models.layers.dropout import drop, dropout_key
from bpjax.models.layers.embedding import Table
from bpjax.models.layers.linear import Bias
from bpjax.models.layers.norm import LayerNorm


def inputs(config: BartConfig) -> tuple[Input, ...]:
    """Tokens of the source, which of them are real, and with a head the text that is written."""
    source = (
        Input(INPUT_IDS, (LENGTH,), fill=config.pad_token_id, below=config.vocab_size),
        Input(ATTENTION_MASK, (LENGTH,)),
    )
    if config.head == "none":
        return source
    return (*source, Input(LABEL, (TARGET_LENGTH,), fill=NO_LABEL, below=config.vocab_size))


class Bart(nn.Module):
    """An encoder, a decoder and the head, which is the table of the word embeddings.

    Variables: `params`, and optionally `masks`, a tree of `BlockMask` at the kernels' paths, and
    `approximations`, see `training.approximations`.
    Dropout needs an rng named `dropout` when `deterministic` is False.
    """

    config: BartConfig

    def setup(self) -> None:
        """Makes the parts."""
        config = self.config
        self.shared = Table(config.vocab_size, config.hidden_size, config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        if config.head == "seq2seq":
            wide = jnp.promote_types(config.activation_dtype, jnp.float32)
            self.head = Bias(config.vocab_size, wide.name)

    def __call__(
        self,
        input_ids: Int[Array, "batch length"],
        attention_mask: Int[Array, "batch length"],
        label: Int[Array, "batch target_length"] | None = None,
        deterministic: bool = True,
        hidden_states: bool = False,
    ) -> Outputs:
        """Runs both stacks and the head.

        Args:
          input_ids: token ids of the source.
          attention_mask: 1 for real tokens, 0 for padding, which ends a row.
          label: token ids of the text that is written, -100 for padding, which ends a row. The
            decoder reads them shifted right. None: it reads the source so.
          deterministic: no dropout.
          hidden_states: also return the states after the embeddings and after each layer.

        Raises:
          UserError: rows longer than the model has positions for.
        """
        config = self.config
        memory, states = self._read(input_ids, attention_mask, deterministic)
        written = _shifted(config, input_ids if label is None else label)
        _require_positions(config, written.shape[1])
        embedded = self._embed(written)
        x, later = self.decoder(embedded, memory, attention_mask, deterministic)
        states |= later

        def by_row(x):
            return x.reshape(input_ids.shape[0], -1, config.hidden_size)

        x = by_row(x)
        return Outputs(
            hidden=x,
            logits=None if config.head == "none" else self._logits(x),
            hidden_states={k: by_row(v) for k, v in states.items()} if hidden_states else {},
        )

    def start(
        self,
        input_ids: Int[Array, "sources length"],
        attention_mask: Int[Array, "sources length"],
        room: Size,
    ) -> Cache:
        """Reads sources, for `step` to write texts of up to `room` tokens."""
        _require_positions(self.config, room)
        memory, _ = self._read(input_ids, attention_mask, deterministic=True)
        return self.decoder.start(memory, attention_mask, room)

    def step(
        self, tokens: Int[Array, "sources beams"], position: Int[Array, ""], cache: Cache
    ) -> tuple[Float[Array, "sources beams vocabulary"], Cache]:
        """Logits of what follows the next tokens, of which `position` is the number."""
        embedded = self._embed(tokens.reshape(-1, 1))
        x, cache = self.decoder.step(embedded, position, cache)
        return self._logits(x.reshape(*tokens.shape, -1)), cache

    def _read(self, ids, mask, deterministic):
        _require_positions(self.config, ids.shape[1])
        return self.encoder(self._embed(ids), mask, deterministic)

    def _embed(self, ids):
        x = self.shared(ids)
        return x * math.sqrt(self.config.scaled_by) if self.config.scaled_by else x

    def _logits(self, x):
        logits, bias = self.shared.logits(x), self.head()
        return logits.astype(bias.dtype) + bias


def _shifted(config, labels):
    """What a decoder reads to write these: as in transformers, where it is given labels."""
    ids = jnp.where(labels == NO_LABEL, config.pad_token_id, labels)
    if VARIANTS[config.model_type].wraps:
        last = (ids != config.pad_token_id).sum(1, keepdims=True) - 1
        first = jnp.take_along_axis(ids, last, axis=1)
    else:
        first = jnp.full_like(ids[:, :1], config.decoder_start_token_id)
    return jnp.concatenate([first, ids[:, :-1]], axis=1)


def _require_positions(config, length):
    if length > config.max_positions:
        raise UserError(
            f"input of {length} tokens: expected at most {config.max_positions}, the positions "
            "that the model has; cut the rows or split them"
        )


class EncoderLayer(nn.Module):
    """One layer of the encoder with the sizes it has left."""

    config: BartConfig
    heads: int
    ffn_size: int

    def setup(self) -> None:
        """Makes the sublayers."""
        config = self.config
        self.attention = Attention(config, self.heads, config.encoder.head_dim)
        self.ffn = FeedForward(config, self.ffn_size)

    def __call__(self, x: Tokens, mask: Int[Array, "batch length"], deterministic: bool) -> Tokens:
        """Attention, then feed-forward."""
        return self.ffn(self.attention(x, mask, deterministic), deterministic)


class DecoderLayer(nn.Module):
    """One layer of the decoder with the sizes it has left."""

    config: BartConfig
    heads: int
    cross_heads: int
    ffn_size: int

    def setup(self) -> None:
        """Makes the sublayers."""
        config, dim = self.config, self.config.decoder.head_dim
        self.attention = Attention(config, self.heads, dim, causal=True)
        self.cross_attention = Attention(config, self.cross_heads, dim)
        self.ffn = FeedForward(config, self.ffn_size)

    def __call__(
        self,
        x: Tokens,
        memory: Float[Array, "sources hidden"],
        mask: Int[Array, "batch length"],
        written: Int[Array, "batch target_length"],
        deterministic: bool,
    ) -> Tokens:
        """Attention to what is written, then to what was read, then feed-forward."""
        x = self.attention(x, written, deterministic)
        x = self.cross_attention(x, mask, deterministic, self.read(memory, mask.shape[0]))
        return self.ffn(x, deterministic)

    def read(self, memory: Float[Array, "sources hidden"], rows: Size) -> KeysValues | None:
        """What the layer takes of the encoder's output; None where nothing of it is read."""
        return self.cross_attention.keys_values(memory, rows)

    def empty(self, rows: Size, room: Size) -> KeysValues | None:
        """A cache for `step`."""
        return self.attention.empty(rows, room)

    def step(
        self,
        x: Tokens,
        position: Int[Array, ""],
        own: KeysValues | None,
        read: KeysValues | None,
        mask: Int[Array, "batch length"],
    ) -> tuple[Tokens, KeysValues | None]:
        """As `__call__`, for one token a row: each source's rows read what it has, uncopied."""
        x, own = self.attention.step(x, position, own)
        x = self.cross_attention(x, mask, deterministic=True, found=read)
        return self.ffn(x, deterministic=True), own


class Stacked(nn.Module):
    """What both stacks have: positions, what stands behind the embeddings, and the end."""

    config: BartConfig

    def _edges(self) -> None:
        config, variant = self.config, VARIANTS[self.config.model_type]
        rows = config.max_positions + variant.first_position
        self.positions = Table(rows, config.hidden_size, config, variant.sinusoidal)
        if variant.norm_embedding:
            self.norm = LayerNorm(config)
        if variant.pre_norm:
            self.final_norm = LayerNorm(config)

    def _begin(
        self,
        embedded: Float[Array, "batch length hidden"],
        places: Int[Array, " length"],
        deterministic: bool,
    ) -> Tokens:
        """Adds positions to embedded words; flattens them to `[batch · length, hidden]`."""
        variant = VARIANTS[self.config.model_type]
        x = embedded + self.positions(places + variant.first_position)
        x = self.norm(x) if variant.norm_embedding else x
        x = drop(x, self.config.dropout, dropout_key(self, deterministic))
        return x.reshape(-1, self.config.hidden_size)

    def _kept(
        self, before: Tokens, after: Tokens, rate: float | int, deterministic: bool
    ) -> Tokens:
        """What a layer gives, or in training by chance what it was given (Fan et al. 2020)."""
        if deterministic or not rate:
            return after
        return jnp.where(jax.random.bernoulli(self.make_rng("dropout"), rate), before, after)

    def _end(self, x: Tokens) -> Tokens:
        return self.final_norm(x) if VARIANTS[self.config.model_type].pre_norm else x


class Encoder(Stacked):
    """The stack that reads."""

    def setup(self) -> None:
        """Makes the layers."""
        config, sizes = self.config, self.config.encoder
        self._edges()
        # Its argument `deterministic`, counted after the module, is a Python bool.
        kind: Any = nn.remat(EncoderLayer, static_argnums=(3,)) if config.remat else EncoderLayer
        self.layer = [
            kind(config, heads, size) for heads, size in zip(sizes.heads, sizes.ffn, strict=True)
        ]

    def __call__(
        self,
        embedded: Float[Array, "batch length hidden"],
        mask: Int[Array, "batch length"],
        deterministic: bool,
    ) -> tuple[Tokens, dict[str, Tokens]]:
        """The states after all layers, and those on the way."""
        x = self._begin(embedded, jnp.arange(embedded.shape[1]), deterministic)
        states = {"encoder/embeddings": x}
        for i, layer in enumerate(self.layer):
            y = layer(x, mask, deterministic)
            x = self._kept(x, y, self.config.encoder.layer_dropout, deterministic)
            states[f"encoder/layer_{i}"] = x
        return self._end(x), states


class Decoder(Stacked):
    """The stack that writes."""

    def setup(self) -> None:
        """Makes the layers."""
        config, sizes = self.config, self.config.decoder
        self._edges()
        kind: Any = nn.remat(DecoderLayer, static_argnums=(5,)) if config.remat else DecoderLayer
        self.layer = [
            kind(config, *units) for units in zip(sizes.heads, sizes.cross, sizes.ffn, strict=True)
        ]

    def __call__(
        self,
        embedded: Float[Array, "batch target_length hidden"],
        memory: Float[Array, "sources hidden"],
        mask: Int[Array, "batch length"],
        deterministic: bool,
    ) -> tuple[Tokens, dict[str, Tokens]]:
        """The states after all layers, and those on the way.

        Args:
          embedded: words that were written, those that pad a row among them.
          memory: the encoder's output.
          mask: of the source.
          deterministic: no dropout.
        """
        x = self._begin(embedded, jnp.arange(embedded.shape[1]), deterministic)
        # Padding ends a row, and no token meets a later one.
        written = jnp.ones(embedded.shape[:2], jnp.int32)
        states = {"decoder/embeddings": x}
        for i, layer in enumerate(self.layer):
            y = layer(x, memory, mask, written, deterministic)
            x = self._kept(x, y, self.config.decoder.layer_dropout, deterministic)
            states[f"decoder/layer_{i}"] = x
        return self._end(x), states

    def start(
        self,
        memory: Float[Array, "tokens hidden"],
        mask: Int[Array, "sources length"],
        room: Size,
    ) -> Cache:
        """Keys and values of what was read, and room for those of what is written."""
        layers = [*enumerate(self.layer)]
        own = {f"layer_{i}": layer.empty(mask.shape[0], room) for i, layer in layers}
        read = {f"layer_{i}": layer.read(memory, mask.shape[0]) for i, layer in layers}
        return Cache(own, {"mask": mask, **read})

    def step(
        self,
        embedded: Float[Array, "tokens 1 hidden"],
        position: Int[Array, ""],
        cache: Cache,
    ) -> tuple[Tokens, Cache]:
        """One more token of each row."""
        x, own = self._begin(embedded, jnp.atleast_1d(position), deterministic=True), {}
        for i, layer in enumerate(self.layer):
            name = f"layer_{i}"
            read, mask = cache.shared[name], cache.shared["mask"]
            x, own[name] = layer.step(x, position, cache.own[name], read, mask)
        return self._end(x), Cache(own, cache.shared)
