"""Block grids: from a kernel's shape to its scores', and from a block mask back to the kernel."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Block(NamedTuple):
    """Size of one block, in weights: `rows` along the kernel's inputs, `cols` along its outputs."""

    rows: int
    cols: int


def grid_shape(kernel_shape: tuple[int, ...], block: Block) -> tuple[int, int]:
    """Number of blocks along the inputs and outputs of a kernel.

    The block need not divide the kernel: the last row or column of blocks is then smaller
    (the reference of Lagunas et al. 2021 demands that it divides).

    Raises:
      ValueError: a kernel that is not a matrix, or a block size below 1.
    """
    if len(kernel_shape) != 2:
        raise ValueError(f"kernel of shape {kernel_shape}: expected a matrix [in, out]")
    if min(block) < 1:
        raise ValueError(f"block {tuple(block)}: sizes must be at least 1")
    return -(-kernel_shape[0] // block.rows), -(-kernel_shape[1] // block.cols)


def expand(
    mask: Float[Array, "rows cols"], kernel_shape: tuple[int, ...], block: Block
) -> Float[Array, "in out"]:
    """Repeats every entry of a block mask over the weights of its block.

    Its transpose, which autodiff derives, is `sum_blocks`: the straight-through gradient of a
    score is the sum of the kernel mask's gradient over the block (Lagunas et al. 2021, section 3).

    Raises:
      ValueError: the mask is not of the kernel's grid.
    """
    rows, cols = grid_shape(kernel_shape, block)
    if mask.shape != (rows, cols):
        raise ValueError(
            f"mask of shape {mask.shape}: expected {(rows, cols)}, blocks of {tuple(block)} over a "
            f"kernel of shape {tuple(kernel_shape)}"
        )
    full = jnp.broadcast_to(mask[:, None, :, None], (rows, block.rows, cols, block.cols))
    full = full.reshape(rows * block.rows, cols * block.cols)
    return full[: kernel_shape[0], : kernel_shape[1]]


def sum_blocks(values: Float[Array, "in out"], block: Block) -> Float[Array, "rows cols"]:
    """Sums a kernel-shaped array over each block; ragged blocks sum what they have."""
    rows, cols = grid_shape(values.shape, block)
    padding = (rows * block.rows - values.shape[0], cols * block.cols - values.shape[1])
    padded = jnp.pad(values, ((0, padding[0]), (0, padding[1])))
    return padded.reshape(rows, block.rows, cols, block.cols).sum((1, 3))


def block_sizes(kernel_shape: tuple[int, ...], block: Block) -> Int[np.ndarray, "rows cols"]:
    """How many weights each block holds."""
    rows, cols = grid_shape(kernel_shape, block)
    heights = np.minimum(block.rows, kernel_shape[0] - block.rows * np.arange(rows))
    widths = np.minimum(block.cols, kernel_shape[1] - block.cols * np.arange(cols))
    return np.outer(heights, widths)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["block"])
class BlockMask:
    """A linear layer's mask at score resolution: one value a block, 0 where the block is pruned.

    A pytree with one leaf, `values`; the block size is static. It is what a model reads from its
    `masks` collection, so that element masks are never stored.
    """

    # Any: functions over pytrees put what they like in a leaf's place.
    def __init__(self, values: Any, block: Block):
        """Pairs mask values `[rows, cols]` with the block size they were made for."""
        self.values = values
        self.block = block

    def apply(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights that a masked layer computes with.

        Kernel: `kernel ⊙ expand(values)`. Bias, if there is one: 0 at the outputs that no weight
        feeds any more; without this, removal is not exact. No gradient reaches the mask through
        the bias, so a score's gradient is the block sum of its kernel alone.

        Args:
          weights: `kernel` `[in, out]`, and perhaps `bias` `[out]`.

        Raises:
          ValueError: the mask is not of the kernel's grid.
        """
        kernel = weights["kernel"]
        kernel_mask = expand(self.values, kernel.shape, self.block).astype(kernel.dtype)
        masked = {"kernel": kernel * kernel_mask}
        if "bias" in weights:
            bias = weights["bias"]
            masked["bias"] = jnp.where(self.fed_outputs(bias.shape[0]), bias, 0)
        return masked

    def fed_outputs(self, features: int) -> Bool[Array, " out"]:
        """Which of the kernel's `features` outputs still have a weight that feeds them."""
        alive = jnp.any(jax.lax.stop_gradient(self.values) != 0, axis=0)
        return jnp.repeat(alive, self.block.cols)[:features]

    def read_inputs(self, features: int) -> Bool[Array, " in"]:
        """Which of the kernel's `features` inputs still have a weight that reads them."""
        alive = jnp.any(jax.lax.stop_gradient(self.values) != 0, axis=1)
        return jnp.repeat(alive, self.block.rows)[:features]
