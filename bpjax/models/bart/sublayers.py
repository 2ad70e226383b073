"""The sublayers of a BART, on activations kept as [tokens, hidden], with masks optional."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.models.bart.config import BartConfig
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.attention import attend, scores_of
from bpjax.models.layers.collections import APPROXIMATIONS, INTERMEDIATES, SCORES, SHARE, STREAM
from bpjax.models.layers.dropout import drop, dropout_key
from bpjax.models.layers.linear import Bias, Linear, joint_affine
from bpjax.models.layers.norm import LayerNorm

Tokens = Float[Array, "tokens hidden"]
KeysValues = tuple[Float[Array, "_ _ _ _"], Float[Array, "_ _ _ _"]]
"""Arrays `[rows, keys, heads, head_dim]`."""
Size = Any
"""A number, or a symbol for it where the function is exported for all numbers."""


class Sublayer(nn.Module):
    """What all have: a residual, its dropout, and a norm before or behind it; `units` may be 0."""

    config: BartConfig
    units: int

    def _edge(self, name: str) -> None:
        """Makes the norm and the output layer, of which without units the bias is left."""
        config = self.config
        self.last: Any = (
            Linear(config.hidden_size, config, name=name)
            if self.units
            else Bias(config.hidden_size, config.activation_dtype, name=name)
        )
        if self.units or not VARIANTS[config.model_type].pre_norm:
            self.norm = LayerNorm(config)

    def _around(
        self,
        x: Tokens,
        inside: Callable[[Tokens], Float[Array, "tokens channels"]],
        deterministic: bool,
    ) -> Tokens:
        config, pre_norm = self.config, VARIANTS[self.config.model_type].pre_norm
        y = self.norm(x) if pre_norm and self.units else x
        out = self.last(inside(y)) if self.units else self.last()
        rng = dropout_key(self, deterministic)
        stream = x + drop(jnp.broadcast_to(out, x.shape), config.dropout, rng)
        if self.is_mutable_collection(INTERMEDIATES):  # somebody fits the sublayer
            self.sow(INTERMEDIATES, STREAM, stream)
        return stream if pre_norm else self.norm(stream)


class Attention(Sublayer):
    """Multi-head attention to the tokens of the same row, or to those of another stack.

    Attributes:
      units: heads.
      head_dim: size of one.
      causal: each token meets those up to itself.
    """

    head_dim: int
    causal: bool = False

    def setup(self) -> None:
        """Makes the layers."""
        self._edge("output")
        if self.units:
            size = self.units * self.head_dim
            self.query = Linear(size, self.config)
            self.key = Linear(size, self.config)
            self.value = Linear(size, self.config)

    def __call__(
        self,
        x: Tokens,
        mask: Int[Array, "batch keys"],
        deterministic: bool,
        found: KeysValues | None = None,
    ) -> Tokens:
        """Mixes each token with unmasked ones.

        Args:
          x: as many tokens of each row.
          mask: 1 for real tokens of those that are mixed in, 0 for padding.
          deterministic: no dropout.
          found: their keys and values, of another stack's states; None: those of `x`.
        """

        def mixed(y: Tokens) -> Float[Array, "tokens channels"]:
            if found is None:
                query, key, value = self._project(
                    y, mask.shape[0], self.query, self.key, self.value
                )
            else:
                (query,), (key, value) = self._project(y, mask.shape[0], self.query), found
            if self.is_mutable_collection(INTERMEDIATES):  # somebody distils from them
                self.sow(INTERMEDIATES, SCORES, scores_of(query, key, self.causal))
            out = attend(
                query,
                key,
                value,
                mask,
                causal=self.causal,
                dropout=self.config.attention_dropout,
                rng=dropout_key(self, deterministic),
            )
            return out.reshape(y.shape[0], -1)

        return self._around(x, mixed, deterministic)

    def keys_values(self, states: Float[Array, "sources hidden"], rows: Size) -> KeysValues | None:
        """Of another stack's states, for `__call__`; None where no head is left."""
        if not self.units:
            return None
        key, value = self._project(states, rows, self.key, self.value)
        return key, value

    def step(
        self, x: Tokens, position: Int[Array, ""], cache: KeysValues | None
    ) -> tuple[Tokens, KeysValues | None]:
        """Mixes the next token of each row with those before.

        Args:
          x: one token a row.
          position: its number.
          cache: keys and values of the tokens before, with room for more; None without heads.

        Returns:
          What it becomes, and the cache with its key and value.
        """

        def mixed(y: Tokens) -> Float[Array, "tokens channels"]:
            nonlocal cache
            query, *new = self._project(y, y.shape[0], self.query, self.key, self.value)
            assert cache is not None
            key, value = (
                jax.lax.dynamic_update_slice_in_dim(old, each.astype(old.dtype), position, 1)
                for old, each in zip(cache, new, strict=True)
            )
            cache = key, value
            past = jnp.arange(key.shape[1]) <= position
            mask = jnp.broadcast_to(past.astype(jnp.int32), key.shape[:2])
            return attend(query, key, value, mask).reshape(y.shape[0], -1)

        out = self._around(x, mixed, deterministic=True)
        return out, cache

    def empty(self, rows: Size, length: Size) -> KeysValues | None:
        """A cache of no tokens with room for `length`, for `step`; None without heads."""
        if not self.units:
            return None
        shape, dtype = (rows, length, self.units, self.head_dim), self.config.activation_dtype
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def _project(self, x: Array, rows: Size, *layers: Linear) -> list[Array]:
        """What layers make of the states, by row, token and head."""
        joint = joint_affine(x, [*layers], self.config)
        heads = joint.reshape(rows, -1, len(layers) * self.units, self.head_dim)
        return jnp.split(heads, len(layers), axis=2)


class FeedForward(Sublayer):
    """The feed-forward sublayer; `units` are its dimensions.

    The variable `approximations/share` says how much of the activation is ReLU's, on the way to it.
    """

    def setup(self) -> None:
        """Makes the layers."""
        self._edge("out")
        if self.units:
            self.first = Linear(self.units, self.config, name="in")

    def __call__(self, x: Tokens, deterministic: bool) -> Tokens:
        """Transforms each token by itself."""
        config = self.config

        def activated(y: Tokens) -> Float[Array, "tokens channels"]:
            before = self.first(y)
            inner = ACTIVATIONS[config.activation](before)
            if self.has_variable(APPROXIMATIONS, SHARE):
                inner += self.get_variable(APPROXIMATIONS, SHARE) * (jax.nn.relu(before) - inner)
            return drop(inner, config.activation_dropout, dropout_key(self, deterministic))

        return self._around(x, activated, deterministic)
