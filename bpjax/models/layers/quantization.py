"""Products of rounded numbers: kernels and inputs of few bits, and sums of integers.

A kernel becomes whole numbers and a scale for each output channel, a table one for each row, both
symmetric around zero. The inputs of a product are rounded as they come (dynamic quantisation): each
token by its largest number, so that an answer depends neither on padding nor on other rows; or the
whole batch alike, from its smallest number to its largest, as ONNX Runtime's fastest operators do.

Training and use compute the same: whole numbers of up to 8 bits are exact in float32 and bfloat16,
and so are their products and, below 2²⁴, the sums of these. A model that is trained keeps float
weights, which are rounded in every step and whose gradient goes straight through (Jacob et al.
2018); one that is finished has them as int8. Two programs differ by what the compiler fuses, all
the same, and where the last bit of a float decides how it is rounded, by a step of rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.models.layers.products import product

BITS = (8, 6, 4)
"""Of weights, the sign among them. Inputs always have 8."""

INPUTS = ("row", "tensor")
"""What of the inputs of a product shares a scale: one token's numbers, or all of a batch."""

AXES = {"kernel": 0, "embedding": -1}
"""Parameters that are rounded, by the last part of their path: along which of their two axes
numbers share a scale. All others stay float32."""

SCALE = "_scale"
"""What a rounded parameter's name and this are the name of: its scales, beside it."""


class Quantization(NamedTuple):
    """How the numbers of a model are rounded.

    Attributes:
      weights: bits of kernels and tables, one of `BITS`.
      inputs: what of the inputs of a product shares a scale, one of `INPUTS`.
    """

    weights: int = 8
    inputs: str = "row"


class Rounded(NamedTuple):
    """An array as whole numbers times scales.

    Attributes:
      values: the whole numbers: int8, or in training of a floating-point type.
      scale: what they are multiplied with, of a shape that broadcasts.
    """

    values: Array
    scale: Float[Array, "..."]

    def dense(self) -> Float[Array, "..."]:
        """The array that this stands for."""
        return self.values * self.scale

    def transposed(self) -> "Rounded":
        """The same with its two axes exchanged."""
        return Rounded(self.values.T, self.scale.T)


def beside(kernels: Sequence[Rounded]) -> Rounded:
    """Kernels of the same inputs as one."""
    values, scales = zip(*kernels, strict=True)
    return Rounded(jnp.concatenate(values, axis=-1), jnp.concatenate(scales, axis=-1))


def largest(bits: int) -> int:
    """The largest whole number of so many bits; the smallest is its negative."""
    return int(2 ** (bits - 1)) - 1


def round_array(x: Float[Array, "..."], bits: int, axis: int) -> Rounded:
    """Rounds an array, with one scale for all along an axis.

    Args:
      x: the array; its gradient is that of the result, unchanged.
      bits: of the whole numbers, the sign among them.
      axis: along which numbers share a scale: 0 of a kernel `[in, out]`, -1 of a table or inputs.

    Returns:
      Whole numbers of the type of `x`, and scales with a 1 at the axis: the largest magnitude over
      the largest whole number, or 1 where all are zero.
    """
    most = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True))
    # Times a reciprocal, which is what XLA makes of a division by a constant, and others do not.
    scale = jnp.where(most > 0, most * jnp.asarray(1 / largest(bits), x.dtype), 1)
    return Rounded(_round(x / scale, -largest(bits), largest(bits)), scale)


@jax.custom_jvp
def _round(x, low, high):
    return jnp.clip(jnp.round(x), low, high)


_round.defjvp(lambda given, changes: (_round(*given), changes[0]))


class _Span(NamedTuple):
    """Inputs rounded from their smallest number to their largest.

    Attributes:
      values: whole numbers, 0 at 0.
      scale: that they are multiplied with.
      zero: what would be added to make them 0 to 255.
    """

    values: Array
    scale: Array
    zero: Array


def _round_span(x: Array) -> _Span:
    """As the operator DynamicQuantizeLinear of ONNX, step by step."""
    fixed = jax.lax.stop_gradient(x)
    low, high = jnp.minimum(fixed.min(), 0), jnp.maximum(fixed.max(), 0)
    # Not by a constant: XLA would multiply with its reciprocal, which others do not.
    steps = jax.lax.optimization_barrier(jnp.asarray(255, x.dtype))
    scale = jnp.where(high > low, (high - low) / steps, 1)
    zero = jnp.round(jnp.clip(-low / scale, 0, 255))
    return _Span(_round(x / scale, -zero, 255 - zero), scale, zero)


def rounded_product(
    x: Float[Array, "*batch in"], kernel: Rounded, inputs: str, dtype: str
) -> Float[Array, "*batch out"]:
    """`x @ kernel` of rounded inputs: a sum of integers, times both scales.

    Args:
      x: inputs, `[.., in]`.
      kernel: of int8 or floating-point values `[in, out]`, scale `[1, out]`.
      inputs: what of them shares a scale, one of `INPUTS`.
      dtype: of floating-point products, see `products.product`; "bfloat16" is as exact.

    Returns:
      Products of the type of `x`, or float32 where that is narrower.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    found = round_array(wide, 8, -1) if inputs == "row" else _round_span(wide)
    if kernel.values.dtype != jnp.int8:
        sums = product(found.values, kernel.values, dtype).astype(wide.dtype)
    elif isinstance(found, Rounded):
        sums = _integer_product(found.values.astype(jnp.int8), kernel.values).astype(wide.dtype)
    else:
        # From 0 to 255 they are no int8: 128 less, and its product with each channel's sum on top.
        moved = (found.values + (found.zero - 128)).astype(jnp.int8)
        channels = kernel.values.sum(0, dtype=jnp.int32) * (128 - found.zero.astype(jnp.int32))
        sums = (_integer_product(moved, kernel.values) + channels).astype(wide.dtype)
    if inputs == "row":
        return sums * kernel.scale[0] * found.scale
    return sums * (found.scale * kernel.scale[0])


def _integer_product(
    x: Int[Array, "*batch in"], kernel: Int[Array, "in out"]
) -> Int[Array, "*batch out"]:
    axes = ((x.ndim - 1,), (0,)), ((), ())
    return jax.lax.dot_general(x, kernel, axes, preferred_element_type=jnp.int32)


def axis_of(path: str) -> int | None:
    """Along which axis a parameter's numbers share a scale, by path; None: it is not rounded."""
    return AXES.get(path.rpartition("/")[2])


def as_stored(values: Array, scale: Array, axis: int) -> Rounded:
    """What is stored of a rounded parameter, with its scales `[out]` or `[rows]`."""
    return Rounded(values, jnp.expand_dims(scale, axis))


def read_rounded(module: nn.Module, name: str, value: Array) -> Rounded:
    """A parameter of a module as whole numbers and scales: as they are stored, or rounded here.

    Args:
      module: with `config.quantization`.
      name: the parameter's, a key of `AXES`.
      value: the parameter: int8, with its scales beside it, or numbers that are trained.
    """
    axis, stored = AXES[name], name + SCALE
    if module.has_variable("params", stored):
        scale: Array = module.get_variable("params", stored)
        return as_stored(value, scale, axis)
    return round_array(value, module.config.quantization.weights, axis)
