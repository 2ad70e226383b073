"""Matrix products of a layer, in its compute type."""

import contextlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unrounded() -> contextlib.AbstractContextManager[None]:
    """In what is traced meanwhile, float32 operands of products are multiplied as they are.

    GPUs round them to TF32 and TPUs to bfloat16 unless they are told not to; metrics, and the proof
    that removal changed nothing, are then not what another machine finds. bfloat16 stays bfloat16.
    """
    if jax.default_backend() == "cpu":  # which rounds nothing
        return contextlib.nullcontext()
    return jax.default_matmul_precision("highest")


def product(
    x: Float[Array, "*batch in"], kernel: Float[Array, "in out"], dtype: str
) -> Float[Array, "*batch out"]:
    """`x @ kernel`, with operands of type `dtype`, summed in at least float32.

    Args:
      x: rows.
      kernel: weights; their gradient is summed in float32 too.
      dtype: "float32", "float64" or "bfloat16". Of bfloat16 operands the result is float32; on
        accelerators it is bfloat16 where `x` is.
    """
    if jnp.dtype(dtype) != jnp.bfloat16:
        return x.astype(dtype) @ kernel.astype(dtype)
    rows = x.reshape(-1, x.shape[-1])
    return _narrow_product(rows, kernel).reshape(*x.shape[:-1], kernel.shape[1])


def transposed_product(
    x: Float[Array, "*batch n"], table: Float[Array, "rows n"], dtype: str
) -> Float[Array, "*batch rows"]:
    """`x @ table.T`, as `product` computes it: logits by the embeddings of the tokens.

    Args:
      x: rows.
      table: weights.
      dtype: as of `product`.
    """
    if jnp.dtype(dtype) != jnp.bfloat16:
        return x.astype(dtype) @ table.astype(dtype).T
    rows = x.reshape(-1, x.shape[-1])
    return _narrow_transposed(rows, table).reshape(*x.shape[:-1], table.shape[0])


# Its derivative is written out for the CPU's sake: XLA's products of bfloat16 are twice as fast
# there as float32's, but only with float32 sums, and with a left side that lies as it is read.
@jax.custom_vjp
def _narrow_product(x, kernel):
    return _dot(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), out=_result(x))


def _forward(x, kernel):
    narrow = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    # The empty arrays carry the types that the gradients must have.
    return _dot(*narrow, out=_result(x)), (*narrow, x[:0], kernel[:0])


def _backward(residuals, gradient):
    x, kernel, like_x, like_kernel = residuals
    gradient = gradient.astype(jnp.bfloat16)
    of_x = _dot(gradient, kernel, contract=(1, 1), out=_result(like_x)).astype(like_x.dtype)
    of_kernel = _dot(_transpose(x), gradient).astype(like_kernel.dtype)
    return of_x, of_kernel


_narrow_product.defvjp(_forward, _backward)


# Not the product with a table that was transposed before: XLA folds that into the table's gradient,
# and has no such product on the CPU.
@jax.custom_vjp
def _narrow_transposed(x, table):
    return _dot(x.astype(jnp.bfloat16), table.astype(jnp.bfloat16), contract=(1, 1))


def _forward_transposed(x, table):
    narrow = x.astype(jnp.bfloat16), table.astype(jnp.bfloat16)
    return _dot(*narrow, contract=(1, 1)), (*narrow, x[:0], table[:0])


def _backward_transposed(residuals, gradient):
    x, table, like_x, like_table = residuals
    gradient = gradient.astype(jnp.bfloat16)
    of_x = _dot(gradient, table).astype(like_x.dtype)
    return of_x, _dot(_transpose(gradient), x).astype(like_table.dtype)


_narrow_transposed.defvjp(_forward_transposed, _backward_transposed)


def _result(x):
    # An accelerator's library sums in float32 anyway, and rounds and adds a bias as it writes; only
    # not if it is asked for float32 and somebody else rounds. The CPU has fast products of bfloat16
    # with float32 results alone.
    return x.dtype if x.dtype == jnp.bfloat16 and jax.default_backend() != "cpu" else jnp.float32


def _dot(x, y, contract=(1, 0), out=jnp.float32):
    axes = ((contract[0],), (contract[1],)), ((), ())
    return jax.lax.dot_general(x, y, axes, preferred_element_type=out)


def _transpose(x):
    rows, columns = x.shape
    if jax.default_backend() != "cpu" or rows % 2:
        return x.T
    # XLA would fold a plain transpose into the product, which then takes the slow way.
    return x.reshape(rows // 2, 2, columns).transpose(2, 0, 1).reshape(columns, rows)
