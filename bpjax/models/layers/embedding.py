"""Tables of embeddings, masked where there is a mask."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from bpjax.models.layers.collections import HIDDEN, MASKS
from bpjax.models.layers.linear import INITIALIZER
from bpjax.models.layers.products import transposed_product
from bpjax.models.layers.quantization import Rounded, read_rounded, rounded_product


class Table(nn.Module):
    """Rows by number; of the type `config.activation_dtype`.

    The variable `masks/hidden` has one value for each dimension of a stream that no norm stands
    before.

    Attributes:
      rows: how many.
      features: size of each.
      config: with `activation_dtype`, `product_dtype` and `quantization`.
      sinusoidal: they begin as `sinusoids`, and have no gradient.
    """

    rows: int
    features: int
    config: Any
    sinusoidal: bool = False

    def setup(self) -> None:
        """Makes the array."""
        initializer = (lambda rng, shape: sinusoids(*shape)) if self.sinusoidal else INITIALIZER
        self.embedding = self.param("embedding", initializer, (self.rows, self.features))

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch features"]:
        """The rows of these numbers; NaN for a number without one."""
        # A negative number would count from the end.
        places = jnp.where(ids < 0, self.rows, ids)
        take = functools.partial(jnp.take, indices=places, axis=0, fill_value=jnp.nan)
        if self.config.quantization:
            table = self._rounded()
            # Integers have no NaN: that of the scale serves.
            found = take(table.values, mode="clip") * take(table.scale, mode="fill")
        else:
            found = take(self._whole(), mode="fill")
        return found.astype(self.config.activation_dtype)

    def logits(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch rows"]:
        """The product of inputs with each row."""
        dtype, quantization = self.config.product_dtype, self.config.quantization
        if quantization:
            return rounded_product(x, self._rounded().transposed(), quantization.inputs, dtype)
        return transposed_product(x, self._whole(), dtype)

    def _rounded(self) -> Rounded:
        return read_rounded(self, "embedding", self._whole())

    def _whole(self) -> Num[Array, "rows features"]:
        table: Any = self.embedding
        if self.sinusoidal:
            table = jax.lax.stop_gradient(table)
        if not self.has_variable(MASKS, HIDDEN):
            return table
        mask: Array = self.get_variable(MASKS, HIDDEN)
        return table * mask


def sinusoids(rows: int, features: int) -> Float[np.ndarray, "rows features"]:
    """Positions as Marian and Pegasus have them: all sines, then all cosines (Vaswani et al. 2017).

    Args:
      rows: positions.
      features: size of each.
    """
    rates = np.power(10000.0, -2 * (np.arange(features) // 2) / features)
    angles = np.arange(rows)[:, None] * rates
    return np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], 1).astype(np.float32)
