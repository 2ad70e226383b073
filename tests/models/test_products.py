"""Products of narrow operands: sums and gradients in float32, on whatever way through XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bart
from test_step import make_batch
from tiny import TINY, make_params, relative, run

from bpjax.generation import generate
from bpjax.models.generation import Generation
from bpjax.models.layers.products import product, transposed_product
from bpjax.training import evaluation
from bpjax.training.mesh import ONE_DEVICE


def operands(rows):
    generator = np.random.default_rng(rows)
    return [jnp.asarray(generator.normal(size=s), "float32") for s in ((2, rows, 6), (6, 5))]


def rounded(x):
    return np.asarray(x.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("rows", [3, 4, 1])
def test_bfloat16_operands_are_summed_in_float32(rows):
    x, kernel = operands(rows)
    out = product(x, kernel, "bfloat16")
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, rounded(x) @ rounded(kernel), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [3, 4, 1])
def test_gradients_are_products_of_bfloat16_summed_in_float32(rows):
    x, kernel = operands(rows)
    x, kernel = x[0], kernel  # an odd number of rows takes another way than an even one
    pull = jnp.asarray(np.random.default_rng(9).normal(size=(rows, 5)), "float32")
    _, back = jax.vjp(lambda x, kernel: product(x, kernel, "bfloat16"), x, kernel)
    of_x, of_kernel = back(pull)
    assert of_x.dtype == of_kernel.dtype == jnp.float32
    np.testing.assert_allclose(of_x, rounded(pull) @ rounded(kernel).T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(of_kernel, rounded(x).T @ rounded(pull), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [3, 4])
def test_a_product_with_a_table_is_one_with_its_transpose(rows):
    x, kernel = operands(rows)
    table = kernel.T
    out = transposed_product(x, table, "bfloat16")
    np.testing.assert_array_equal(out, product(x, kernel, "bfloat16"))

    def loss(x, table):
        return jnp.square(transposed_product(x, table, "bfloat16")).sum()

    # Compiled, for XLA folds transposes into products that it then cannot compute.
    of_x, of_table = jax.jit(jax.grad(loss, argnums=(0, 1)))(x[0], table)
    pull = rounded(2 * transposed_product(x[0], table, "bfloat16"))
    np.testing.assert_allclose(of_x, pull @ rounded(table), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(of_table, pull.T @ rounded(x[0]), rtol=1e-6, atol=1e-5)


def test_wider_types_are_plain_products():
    x, kernel = operands(4)
    np.testing.assert_array_equal(product(x, kernel, "float32"), x @ kernel)
    np.testing.assert_array_equal(transposed_product(x, kernel.T, "float32"), x @ kernel)


def test_a_model_with_narrow_products_alone_keeps_its_activations_wide():
    params = make_params()
    wide, narrow = run(TINY, params), run(TINY.replace(dtype="bfloat16_products"), params)
    assert narrow.hidden.dtype == jnp.float32
    all_narrow = run(TINY.replace(dtype="bfloat16"), params)
    error = relative(narrow.hidden, wide.hidden)
    assert 1e-5 < error < relative(all_narrow.hidden, wide.hidden)


def test_metrics_are_of_products_that_are_not_rounded(monkeypatch):
    """An accelerator is told so, whether outputs are computed or texts are written."""
    writes = tiny_bart.TINY.replace(
        generation=Generation(decoder_start_token_id=2, eos_token_id=(2,), max_length=4)
    )
    given = {"params": tiny_bart.make_params(writes)}, tiny_bart.make_batch()

    def found():
        logits = evaluation._logits.trace(TINY, ONE_DEVICE, make_params(), None, make_batch())
        texts = jax.jit(functools.partial(generate, writes)).trace(*given)
        for traced in (logits, texts):
            lines = traced.lower().as_text().splitlines()
            yield [line for line in lines if "dot_general" in line]

    assert not any("HIGHEST" in line for lines in found() for line in lines)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    try:
        assert all(lines and all("[HIGHEST, HIGHEST]" in x for x in lines) for lines in found())
    finally:
        jax.clear_caches()  # what was traced for a GPU is not for the tests that follow
