"""What a training step asks of a GPU, read from the program that is lowered for one."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from test_step import DENSE, OPTIMIZER, make_recipe
from tiny import TINY, make_params

from bpjax.models.layers.dropout import drop
from bpjax.models.layers.linear import _add_bias
from bpjax.training.state import init_state
from bpjax.training.step import make_train_step

HALF = TINY.replace(
    hidden_size=16,
    head_dim=8,
    heads=(2, 2),
    intermediate=(40, 24),
    max_positions=12,
    hidden_dropout=0.1,
    attention_dropout=0.0,
    dtype="bfloat16",
)
ROWS, LENGTH = 3, 12


@pytest.fixture
def gpu(monkeypatch):
    """Tracing is told that it is for an H100; nothing runs."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    device = types.SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    jax.clear_caches()
    yield
    jax.clear_caches()  # what was traced for a GPU is not for the tests that follow


def lowered(config):
    recipe = make_recipe(config, DENSE, OPTIMIZER)
    state = init_state(make_params(config), DENSE, OPTIMIZER, jax.random.key(0))
    batch = {
        "input_ids": jnp.ones((ROWS, LENGTH), jnp.int32),
        "attention_mask": jnp.ones((ROWS, LENGTH), jnp.int32),
        "token_type_ids": jnp.zeros((ROWS, LENGTH), jnp.int32),
        "label": jnp.zeros(ROWS, jnp.int32),
        "weight": jnp.ones(ROWS),
    }
    step = make_train_step(recipe)
    return step.compiled.trace(state, batch, {}).lower(lowering_platforms=("cuda",)).as_text()


def test_a_step_in_bfloat16(gpu):
    text = lowered(HALF)
    tokens = ROWS * LENGTH
    of_layers = [
        line
        for line in text.splitlines()
        if "dot_general" in line and re.search(rf"-> tensor<{tokens}x\d+x", line)
    ]
    # Query, key and value as one, output, and both of the feed-forward layer; and for their inputs.
    assert len(of_layers) == 2 * 4 * 2
    assert all(re.search(r"xbf16>, tensor<\w+xbf16>\) -> tensor<\w+xbf16>", x) for x in of_layers)
    # The kernels' own gradients are wide.
    operands = rf"tensor<\d+x{tokens}xbf16>, tensor<{tokens}x\d+xbf16>"
    of_kernels = re.findall(rf"{operands}\) -> tensor<\d+x\d+x(\w+)>", text)
    assert of_kernels and set(of_kernels) == {"f32"}
    assert "__cudnn$fmhaSoftmax" in text and "__cudnn$fmhaSoftmaxBackward" in text
    assert f"{LENGTH}x{LENGTH}x" not in text  # no scores of pairs of tokens
    # One draw a place of dropout: the embeddings, two a layer, and the head.
    assert text.count("stablehlo.rng_bit_generator") == 1 + 2 * 2 + 1


def test_with_attention_dropout_the_scores_are_computed(gpu):
    """No kernel in JAX draws that dropout from a key; see `models.layers.attention`."""
    text = lowered(HALF.replace(attention_dropout=0.1))
    assert "__cudnn" not in text and f"{LENGTH}x{LENGTH}x" in text


def test_float32_stays_float32(gpu):
    text = lowered(HALF.replace(dtype="float32"))
    assert "bf16" not in text and "__cudnn" not in text


def test_the_accelerators_generator_drops_as_many_and_heeds_its_key(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # of jax's way to draw alone
    x, key = jnp.ones((400, 50)), jax.random.key(0)
    found = drop(x, 0.25, key)
    assert set(np.unique(found).tolist()) == {0.0, np.float32(4 / 3).item()}
    assert abs(np.mean(np.asarray(found) == 0) - 0.25) < 0.01
    np.testing.assert_array_equal(found, drop(x, 0.25, key))
    assert np.mean(found == drop(x, 0.25, jax.random.key(1))) < 0.7


def test_a_narrow_biass_gradient_is_a_wide_sum():
    ones, bias = jnp.ones((1000, 2), jnp.bfloat16), jnp.zeros(2)
    out, back = jax.vjp(_add_bias, ones, bias)
    of_x, of_bias = back(out)
    assert of_x.dtype == jnp.bfloat16 and of_bias.dtype == jnp.float32
    np.testing.assert_array_equal(of_bias, 1000)  # which bfloat16 cannot count to by ones
