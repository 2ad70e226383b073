"""Rows of a batch laid end to end, so that layers compute no padding between them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Num


class Packing(NamedTuple):
    """Where the tokens of rows lie in bins of one length.

    Attributes:
      tokens: which token lies at each place of a bin, counted along `[rows · length]`; -1: none.
      places: where each token of a row lies, counted along `[bins · size]`; -1: it is padding.
    """

    tokens: Int[Array, "bins size"]
    places: Int[Array, "rows length"]

    @classmethod
    def of(cls, tokens: Int[Array, "bins size"], rows: int, length: int) -> "Packing":
        """Of a batch with so many rows of such a length."""
        count = rows * length
        numbers = jnp.arange(tokens.size, dtype=tokens.dtype)
        where = jnp.where(tokens < 0, count, tokens).ravel()  # -1 would count from the end
        places = jnp.full(count, -1, tokens.dtype).at[where].set(numbers, mode="drop")
        return cls(tokens, places.reshape(rows, length))

    def pairs(self) -> Bool[Array, "bins size size"]:
        """Which tokens of a bin meet: those of one row, and what is empty among itself."""
        row = jnp.where(self.tokens < 0, -1, self.tokens // self.places.shape[1])
        return row[:, :, None] == row[:, None, :]

    def by_token(self, x: Num[Array, "rows n"]) -> Num[Array, "bins_size n"]:
        """Something of a row, at each place; of any row where there is none."""
        return x[jnp.maximum(self.tokens, 0).ravel() // self.places.shape[1]]

    def pack(self, x: Num[Array, "rows length *rest"]) -> Num[Array, "bins size *rest"]:
        """Something of every token, 0 where there is none."""
        return _take(x.reshape(-1, *x.shape[2:]), self.tokens)

    def unpack(self, x: Num[Array, "bins_size n"]) -> Num[Array, "rows length n"]:
        """The same of the rows, 0 at padding."""
        return _unpack(x, self)


def _take(x: Array, places: Array) -> Array:
    there = (places >= 0).reshape(*places.shape, *[1] * (x.ndim - 1))
    return jnp.where(there, x[jnp.maximum(places, 0)], jnp.zeros((), x.dtype))


# No two tokens lie at one place, so that the gradient gathers too: scattering is slow.
@jax.custom_vjp
def _unpack(x: Array, packing: Packing) -> Array:
    return _take(x, packing.places)


def _forward(x: Array, packing: Packing) -> tuple[Array, Packing]:
    return _unpack(x, packing), packing


def _backward(packing: Packing, gradient: Array) -> tuple[Array, None]:
    return packing.pack(gradient).reshape(-1, gradient.shape[-1]), None


_unpack.defvjp(_forward, _backward)
