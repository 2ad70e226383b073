"""Quantised models: their arithmetic, their files, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_bart
from checkpoints import refused
from flax import traverse_util
from safetensors.numpy import load_file, save_file

import bpjax
from bpjax import models
from bpjax.errors import UserError
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.layers.quantization import (
    BITS,
    INPUTS,
    Quantization,
    largest,
    round_array,
    rounded_product,
)
from bpjax.models.quantize import PRESETS, dequantize, quantize, round_params
from bpjax.training.evaluation import apply


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Arithmetic


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("axis", [0, -1])
def test_rounding_is_off_by_half_a_step_at_most_and_repeats_itself(bits, axis):
    x = draw(7, 5).at[2].set(0).at[:, 3].set(0)
    found = round_array(x, bits, axis)
    values = np.asarray(found.values)
    assert (values == values.round()).all() and abs(values).max() == largest(bits)
    assert (abs(found.dense() - x) <= found.scale * 0.5001).all()
    assert (found.scale > 0).all() and (found.dense()[2] == 0).all()
    again = round_array(found.dense(), bits, axis)
    np.testing.assert_array_equal(again.values, found.values)


def test_the_gradient_goes_straight_through_rounding():
    x, kernel = draw(4, 6), draw(6, 3, seed=1)

    def loss(x, kernel):
        out = rounded_product(x, round_array(kernel, 8, 0), "row", "float32")
        return (out * jnp.arange(12.0).reshape(4, 3)).sum()

    of_x, of_kernel = jax.grad(loss, (0, 1))(x, kernel)
    weights = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(of_x, weights @ round_array(kernel, 8, 0).dense().T, rtol=1e-5)
    np.testing.assert_allclose(of_kernel, round_array(x, 8, -1).dense().T @ weights, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [8, 1536])
@pytest.mark.parametrize("inputs", INPUTS)
def test_floats_compute_what_integers_do(inputs, size, dtype):
    x, rounded = draw(9, size) - 0.3, round_array(draw(size, 11, seed=1), 8, 0)
    integers = rounded._replace(values=rounded.values.astype(jnp.int8))
    product = jax.jit(rounded_product, static_argnums=(2, 3))
    lowered = product.lower(x, integers, inputs, dtype).as_text()
    assert "xi8>" in lowered and "xi32>" in lowered
    expected = product(x, integers, inputs, dtype)
    np.testing.assert_array_equal(product(x, rounded, inputs, dtype), expected)
    np.testing.assert_allclose(expected, x @ rounded.dense(), atol=0.06 * float(jnp.std(expected)))


def bert_batch():
    ids, mask, types = tiny.make_batch()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


MODELS = {
    "bert": (tiny.TINY, tiny.make_params, bert_batch),
    "electra": (
        tiny.TINY.replace(model_type="electra", embedding_size=4),
        tiny.make_params,
        bert_batch,
    ),
    "bart": (tiny_bart.TINY, tiny_bart.make_params, tiny_bart.make_batch),
    "marian": (tiny_bart.KINDS["marian"], tiny_bart.make_params, tiny_bart.make_batch),
}


def make_model(name):
    config, make, batch = MODELS[name]
    return config, make(config), batch()


@pytest.fixture(params=["bert", "bart"])
def model(request):
    return make_model(request.param)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        *(("bert", preset) for preset in PRESETS),
        ("electra", "int8"),
        ("bart", "int8"),
        ("marian", "int8_tensor"),
    ],
)
def test_a_model_of_integers_says_what_the_rounded_one_of_floats_does(name, preset):
    config, params, batch = make_model(name)
    quantized, integers = quantize(config, params, preset)
    floats = jax.jit(
        lambda params: apply(quantized, params, batch).logits,
        compiler_options={"xla_disable_hlo_passes": "fusion"},
    )
    np.testing.assert_array_equal(floats(params), floats(integers))
    if preset.startswith("int8"):
        dense = jax.jit(lambda params: apply(config, params, batch).logits)(params)
        assert 0 < jnp.median(abs(floats(integers) - dense)) < 0.4 * jnp.std(dense)
    # No parameter of two axes is left as it was.
    for path, value in traverse_util.flatten_dict(integers, sep="/").items():
        assert (value.dtype == jnp.int8) == (value.ndim == 2), path


def test_an_answer_depends_neither_on_padding_nor_on_other_rows():
    config, params, batch = (tiny.TINY, tiny.make_params(), bert_batch())
    quantized, integers = quantize(config, params, "int8")
    run = jax.jit(lambda batch: apply(quantized, integers, batch).logits)
    whole = run(batch)
    alone = {name: x[1:2, :3] for name, x in batch.items()}
    np.testing.assert_allclose(run(alone)[0], whole[1], rtol=0, atol=1e-6)


def test_training_moves_what_is_rounded():
    config, params, batch = (tiny.TINY, tiny.make_params(), bert_batch())
    quantized = config.replace(quantization=Quantization())

    def loss(params):
        return (apply(quantized, params, batch).logits ** 2).sum()

    for path, value in traverse_util.flatten_dict(jax.jit(jax.grad(loss))(params), sep="/").items():
        assert jnp.isfinite(value).all() and (path.endswith("position/embedding") or value.any())


# Files


def quantized_folder(tmp_path, config=tiny.TINY, make=tiny.make_params, preset="int8"):
    folder = tmp_path / "quantized"
    save_pretrained(folder, *quantize(config, make(config), preset))
    return folder


@pytest.mark.parametrize("preset", ["int8_tensor", "int4"])
def test_a_saved_model_is_the_same_and_its_weights_are_bytes(model, preset, tmp_path):
    config, params, _ = model
    found, integers = quantize(config, params, preset)
    save_pretrained(tmp_path / "a", found, integers)
    again, loaded = load_pretrained(tmp_path / "a")
    assert again.quantization == PRESETS[preset]
    jax.tree.map(np.testing.assert_array_equal, loaded, integers)
    stored = load_file(tmp_path / "a" / "model.safetensors")
    for name, value in stored.items():
        assert (value.dtype == np.int8) == (value.ndim == 2 and "logits_bias" not in name), name
        assert value.dtype == np.float32 or f"{name}_scale" in stored, name


def test_the_float_model_of_the_same_values(model):
    config, params, _ = model
    found, dense = dequantize(*quantize(config, params, "int8"))
    assert found == config
    assert jax.tree.map(jnp.shape, dense) == jax.tree.map(jnp.shape, params)
    again, integers = quantize(found, dense, "int8")
    _, expected = quantize(config, params, "int8")
    flat, wanted = (traverse_util.flatten_dict(x, sep="/") for x in (integers, expected))
    for path, value in wanted.items():
        np.testing.assert_allclose(flat[path], value, rtol=1e-6, err_msg=path)
    assert dequantize(config, params) == (config, params)


def test_other_software_is_not_told_sizes_that_it_would_fill_with_noise(tmp_path):
    dense = tiny.TINY.replace(hidden_size=6, heads=(3, 3), intermediate=(5, 5))
    data = json.loads((quantized_folder(tmp_path, dense) / "config.json").read_text())
    assert (data["num_attention_heads"], data["intermediate_size"]) == (0, 0)
    assert data["bpjax"]["quantization"] == {"weights": 8, "inputs": "row"}


# What is refused


def test_presets_and_models_that_are_not_taken():
    config, params = tiny.TINY, tiny.make_params()
    with pytest.raises(
        UserError, match="preset 'int5': expected one of int8, int8_tensor, int6, int4"
    ):
        quantize(config, params, "int5")
    quantized, integers = quantize(config, params, "int8")
    with pytest.raises(UserError, match="the model is quantised: expected float"):
        quantize(quantized, integers, "int8")
    params["layer_0"]["ffn"]["in"]["kernel"] = jnp.full((6, 5), jnp.inf)
    with pytest.raises(UserError, match="layer_0/ffn/in/kernel has numbers that are not finite"):
        round_params(quantized, params)


@pytest.mark.parametrize(
    "told",
    [
        {},
        8,
        {"weights": 8},
        {"weights": 5, "inputs": "row"},
        {"weights": "8", "inputs": "row"},
        {"weights": 8, "inputs": "column"},
        {"weights": 8, "inputs": ["row"]},
        {"weights": 8, "inputs": "row", "x": 1},
    ],
)
def test_bits_that_bpjax_does_not_have(tmp_path, told):
    path = quantized_folder(tmp_path) / "config.json"
    data = json.loads(path.read_text())
    data["bpjax"]["quantization"] = told
    path.write_text(json.dumps(data))
    with refused("expected weights of one of 8, 6, 4 bits"):
        load_pretrained(path.parent)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors, name: {name: tensors[name].astype(np.float32)}, "holds F32: expected I8"),
        (
            lambda tensors, name: {f"{name}_scale": -tensors[f"{name}_scale"]},
            "finite numbers above 0",
        ),
        (
            lambda tensors, name: {f"{name}_scale": tensors[f"{name}_scale"] * np.float32("nan")},
            "scales that are not finite",
        ),
    ],
)
def test_tensors_that_no_rounding_makes(tmp_path, change, expected):
    path = quantized_folder(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    name = "classifier.weight"
    save_file(tensors | change(tensors, name), path)
    with refused(f"{name}.* {expected}"):
        load_pretrained(path.parent)


def test_a_quantised_model_is_not_trained_or_pruned(tmp_path):
    folder = quantized_folder(tmp_path)
    for change in (bpjax.mask, bpjax.shrink, bpjax.quantize):
        with refused("is quantised: expected float parameters"):
            change(folder)
    with refused(f"{folder} is quantised: expected float parameters"):
        load_pretrained(folder, head="classification", num_labels=3)
    assert models.tensors(load_pretrained(folder)[0])["head/kernel"].dtype == "int8"
