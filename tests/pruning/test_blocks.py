"""Block grids of any size, ragged edges included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import element_mask

from bpjax.pruning.blocks import Block, BlockMask, block_sizes, expand, grid_shape, sum_blocks
from bpjax.pruning.patterns import Target

SHAPES = [((6, 8), (2, 4)), ((7, 5), (3, 2)), ((4, 4), (9, 1)), ((3, 5), (1, 1)), ((5, 6), (5, 6))]


def test_the_worked_example():
    mask = expand(jnp.array([[1.0, 0.0], [0.0, 1.0]]), (4, 2), Block(2, 1))
    np.testing.assert_array_equal(mask, [[1, 0], [1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize(("shape", "block"), SHAPES)
def test_every_weight_gets_its_blocks_value(shape, block):
    target = Target(("x",), shape, Block(*block))
    values = jnp.arange(1.0, 1 + np.prod(target.grid)).reshape(target.grid)
    np.testing.assert_array_equal(expand(values, shape, target.block), element_mask(values, target))


@pytest.mark.parametrize(("shape", "block"), SHAPES)
def test_sums_and_sizes(shape, block):
    block = Block(*block)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    sums, sizes = sum_blocks(jnp.asarray(values), block), block_sizes(shape, block)
    assert sums.shape == sizes.shape == grid_shape(shape, block)
    for i, j in np.ndindex(*sizes.shape):
        part = values[i * block.rows :, j * block.cols :][: block.rows, : block.cols]
        assert sizes[i, j] == part.size
        np.testing.assert_allclose(sums[i, j], part.sum(), atol=1e-6)


@pytest.mark.parametrize(("shape", "block"), SHAPES)
def test_the_gradient_of_expand_is_sum_blocks(shape, block):
    block = Block(*block)
    cotangent = jax.random.normal(jax.random.key(0), shape)
    _, pull = jax.vjp(lambda m: expand(m, shape, block), jnp.ones(grid_shape(shape, block)))
    np.testing.assert_allclose(pull(cotangent)[0], sum_blocks(cotangent, block), atol=1e-6)


def test_a_mask_zeroes_the_biases_that_nothing_feeds():
    mask = BlockMask(jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), Block(2, 2))
    masked = mask.apply({"kernel": jnp.ones((3, 5)), "bias": jnp.arange(1.0, 6.0)})
    kernel, bias = masked["kernel"], masked["bias"]
    np.testing.assert_array_equal(kernel, [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(bias, [1, 2, 0, 0, 5])


def test_no_gradient_reaches_a_mask_through_the_bias():
    def bias_sum(values):
        weights = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
        return BlockMask(values, Block(2, 2)).apply(weights)["bias"].sum()

    np.testing.assert_array_equal(jax.grad(bias_sum)(jnp.ones((2, 2))), np.zeros((2, 2)))


def test_a_mask_takes_the_kernels_type():
    mask = BlockMask(jnp.ones((1, 1)), Block(4, 4))
    narrow = {"kernel": jnp.ones((4, 4), jnp.bfloat16), "bias": jnp.ones(4, jnp.bfloat16)}
    kernel, bias = mask.apply(narrow).values()
    assert kernel.dtype == bias.dtype == jnp.bfloat16


def test_a_mask_is_a_pytree_of_one_leaf():
    mask = BlockMask(jnp.ones((2, 3)), Block(4, 5))
    assert [x.shape for x in jax.tree.leaves(mask)] == [(2, 3)]
    shape = jax.tree.map(jnp.shape, mask)  # a leaf need not be an array
    assert (shape.values, shape.block) == ((2, 3), Block(4, 5))
    assert jax.jit(lambda m: m)(mask).block == Block(4, 5)


@pytest.mark.parametrize("block", [(0, 1), (1, 0), (-2, 2)])
def test_refuses_empty_blocks(block):
    with pytest.raises(ValueError, match="at least 1"):
        grid_shape((4, 4), Block(*block))


def test_refuses_a_kernel_that_is_not_a_matrix():
    with pytest.raises(ValueError, match=r"\(4, 2, 2\): expected a matrix"):
        grid_shape((4, 2, 2), Block(1, 1))


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (3, 3)])
def test_refuses_a_mask_of_another_grid(shape):
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        BlockMask(jnp.ones(shape), Block(2, 2)).apply({"kernel": jnp.ones((4, 5))})


def test_a_kernel_without_bias_gets_none():
    masked = BlockMask(jnp.ones((2, 2)), Block(2, 2)).apply({"kernel": jnp.ones((4, 4))})
    assert masked.keys() == {"kernel"}
