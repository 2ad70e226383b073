"""Linear layers, masked where there is a mask.

Every `config` here has `product_dtype`, the type of the operands of matrix products,
`activation_dtype`, that of all between them, and `quantization`, how both operands are rounded.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.models.layers.collections import GATES, HIDDEN, INPUTS, KERNEL, MASKS
from bpjax.models.layers.products import product
from bpjax.models.layers.quantization import (
    Quantization,
    Rounded,
    beside,
    read_rounded,
    rounded_product,
)
from bpjax.pruning.blocks import BlockMask

DTYPES = ("float32", "bfloat16", "bfloat16_products", "float64")
"""Compute types of a config; "bfloat16_products" is bfloat16 in products and float32 between."""


class ComputeTypes:
    """What a config's `dtype`, one of `DTYPES`, means for the layers.

    Attributes:
      quantization: how the operands of products are rounded before; None: not at all.
    """

    dtype: str
    quantization: Quantization | None

    @property
    def product_dtype(self) -> str:
        """Type of the operands of the layers' matrix products."""
        return self.dtype.removesuffix("_products")

    @property
    def activation_dtype(self) -> str:
        """Type of all between the layers' matrix products."""
        return "float32" if self.dtype.endswith("_products") else self.dtype


INITIALIZER = nn.initializers.normal(0.02)
"""Of BERT's new weights (Devlin et al. 2019)."""

Weights = tuple[Float[Array, "in out"] | Rounded, Float[Array, " out"] | None]
"""A kernel, rounded in a quantised model, and its bias if it has one."""


class Linear(nn.Module):
    """`x @ kernel + bias`, masked if there is a mask.

    The mask is a `BlockMask` in the variable collection `masks`, beside `params`, under the name
    `kernel`; or one value an output, under `hidden`, where the layer writes to a masked stream. The
    variable `gates/inputs` multiplies the inputs, `[batch, in]`, where it is given.
    """

    features: int
    config: Any
    use_bias: bool = True

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis."""
        if self.has_variable(GATES, INPUTS):
            gates: Array = self.get_variable(GATES, INPUTS)
            by_row = x.reshape(len(gates), -1, x.shape[-1]) * gates[:, None, :].astype(x.dtype)
            x = by_row.reshape(x.shape)
        return affine(x, *self.weights(x), self.config)

    @nn.compact
    def weights(self, x: Float[Array, "*batch in"]) -> Weights:
        """Kernel `[in, features]` and bias `[features]` for this input, masked if there is a mask.

        For callers that make one product of several layers.
        """
        shape = (x.shape[-1], self.features)
        found = {"kernel": self.param("kernel", INITIALIZER, shape)}
        if self.use_bias:
            found["bias"] = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.has_variable(MASKS, KERNEL):
            mask: BlockMask = self.get_variable(MASKS, KERNEL)
            found = mask.apply(found)
        if self.has_variable(MASKS, HIDDEN):
            found = {name: x * self.get_variable(MASKS, HIDDEN) for name, x in found.items()}
        kernel = found["kernel"]
        if self.config.quantization:
            return read_rounded(self, KERNEL, kernel), found.get("bias")
        return kernel, found.get("bias")


def affine(
    x: Float[Array, "*batch in"],
    kernel: Float[Array, "in out"] | Rounded,
    bias: Float[Array, " out"] | None,
    config: Any,
) -> Float[Array, "*batch out"]:
    """`x @ kernel + bias` in the compute types of `config`."""
    if isinstance(kernel, Rounded):
        out = rounded_product(x, kernel, config.quantization.inputs, config.product_dtype)
    else:
        out = product(x, kernel, config.product_dtype)
    if bias is not None:
        out = _add_bias(out, bias)
    return out.astype(config.activation_dtype)


@jax.custom_vjp
def _add_bias(x, bias):
    return x + bias.astype(x.dtype)


def _forward(x, bias):
    return _add_bias(x, bias), bias[:0]


def _backward(like_bias, gradient):
    # Summed in at least float32, whatever the type of what the bias was added to.
    wide = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    return gradient, wide.sum(tuple(range(gradient.ndim - 1))).astype(like_bias.dtype)


_add_bias.defvjp(_forward, _backward)


def joint_affine(
    x: Float[Array, "*batch in"], layers: list[Linear], config: Any
) -> Float[Array, "*batch out"]:
    """Several layers of one input, as one product where that is faster.

    Either all of them have a bias, or none.
    """
    found = [layer.weights(x) for layer in layers]
    entries = x.shape[-1] * sum(layer.features for layer in layers)
    if not _joins(math.prod(x.shape[:-1]), entries, x.shape[-1]):
        return jnp.concatenate([affine(x, *each, config) for each in found], axis=-1)
    kernels, biases = zip(*found, strict=True)
    bias = None if biases[0] is None else jnp.concatenate(biases, axis=-1)
    join = beside if config.quantization else functools.partial(jnp.concatenate, axis=-1)
    return affine(x, join(kernels), bias, config)


def _joins(rows: Any, entries: int, size: int) -> bool:
    """Whether a wide product of so many rows saves more than it costs to join its kernels.

    Measured on a CPU (results/bench/joint.json): with kernels apart a row of 32 tokens is answered
    1.04 to 1.19 times as fast, and 8 rows of 128 by BERT-base 1.05 times; MiniLM, whose kernels are
    small, answers such rows as fast either way. Accelerators like wide products, and copy fast.
    """
    if jax.default_backend() != "cpu":
        return True
    return isinstance(rows, int) and rows >= size and entries <= 2**19


class Bias(nn.Module):
    """What is left of a sublayer's output layer when all that fed it was removed."""

    features: int
    dtype: str

    @nn.compact
    def __call__(self) -> Float[Array, " out"]:
        """The bias `[features]`."""
        return self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
