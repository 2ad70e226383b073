"""Exported models compute what the shrunken ones do."""

import functools
import json
import re
import sys

import flatbuffers
import jax
import numpy as np
import pytest
from tiny import TINY, make_batch, make_params, relative, run

from bpjax.errors import UserError
from bpjax.exports.formats import FORMATS, compare, export
from bpjax.exports.huggingface import pad
from bpjax.exports.outputs import outputs_of
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.quantize import dequantize, quantize

RAGGED = TINY.replace(heads=(0, 2), intermediate=(3, 0))


@pytest.mark.parametrize("dense_sizes", [None, (TINY.heads, (5, 5), TINY.hidden_size)])
def test_a_padded_model_is_dense_and_the_same(dense_sizes):
    config = RAGGED.replace(dense_sizes=dense_sizes)
    params = make_params(config)
    dense, padded = pad(config, params)
    assert dense.heads == (3, 3)  # hidden size 6, heads of 2
    assert dense.intermediate == ((5, 5) if dense_sizes else (3, 3))
    assert relative(run(dense, padded).logits, run(config, params).logits) < 1e-6
    assert relative(run(dense, padded).hidden, run(config, params).hidden) < 1e-6
    kernel = np.asarray(padded["layer_0"]["ffn"]["in"]["kernel"])
    np.testing.assert_array_equal(kernel[:, :3], params["layer_0"]["ffn"]["in"]["kernel"])
    assert not kernel[:, 3:].any()


def test_a_model_without_any_dimensions():
    config = TINY.replace(heads=(0, 0), intermediate=(0, 0))
    params = make_params(config)
    dense, padded = pad(config, params)
    assert dense.intermediate == (1, 1)
    assert relative(run(dense, padded).logits, run(config, params).logits) < 1e-6


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "none"), ("roberta", "span"), ("distilbert", "classification")]
)
def test_stablehlo_runs_without_bpjax(tmp_path, family, head):
    types = ENCODERS[family].token_types
    config = RAGGED.replace(head=head, model_type=family, type_vocab_size=types, num_labels=2)
    params = make_params(config)
    found = export("stablehlo", config, params, tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.stablehlo",
    }
    assert found["max_abs_diff"] < 1e-5 and found["ms"] > 0
    exported = jax.export.deserialize(bytearray((tmp_path / "out/model.stablehlo").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    ids, mask, segments = make_batch()
    for rows in (1, 3):
        given = ids[:rows], mask[:rows], segments[:rows] * (types > 1)
        batch = dict(zip(("input_ids", "attention_mask", "token_type_ids"), given, strict=True))
        expected = outputs_of(config, params, batch)
        assert relative(exported.call(*given), expected) < 1e-5


@pytest.mark.parametrize("limit", [100, 7000])  # less than the weights, and than all
def test_a_model_too_large_for_stablehlo_is_refused(tmp_path, monkeypatch, limit):
    params = make_params(RAGGED)
    monkeypatch.setattr(flatbuffers.Builder, "MAX_BUFFER_SIZE", limit)
    with pytest.raises(UserError, match="GB of weights: expected less than .* take --to=onnx"):
        export("stablehlo", RAGGED, params, tmp_path, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("family", ENCODERS)
def test_the_code_of_a_folder_has_the_classes_that_its_config_names(tmp_path, family):
    types = ENCODERS[family].token_types
    config = RAGGED.replace(model_type=family, type_vocab_size=types)
    export("hf", config, make_params(config), tmp_path, tmp_path / "out")
    code = (tmp_path / "out/modeling_bpjax.py").read_text()
    named = json.loads((tmp_path / "out/config.json").read_text())["auto_map"]
    assert {"AutoModel", "AutoModelForMaskedLM", "AutoModelForTokenClassification"} < set(named)
    families, kinds = (
        re.findall(r'"(\w+)"', re.search(rf"{name} = \((.*?)\n?\)\n", code, re.DOTALL)[1])
        for name in ("_FAMILIES", "_KINDS")
    )
    stem = next(x for x in families if x.lower() == family.replace("-", ""))
    expected = {
        f"AutoModel{kind.removeprefix('Model')}": f"modeling_bpjax.Bpjax{stem}{kind}"
        for kind in kinds
    }
    assert named == expected


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
@pytest.mark.parametrize("head", ["span", "classification"])
def test_a_model_that_says_something_else_is_not_passed(wrong, head):
    config = RAGGED.replace(head=head, num_labels=2)
    params = make_params(config)

    def call(batch):
        answers = np.array(outputs_of(config, params, batch))
        answers[-1, 1] += wrong  # of a span, at the second token
        return answers

    with pytest.raises(RuntimeError, match="differs by"):
        compare(config, params, call)


def test_segments_and_every_label_are_compared():
    config = RAGGED.replace(num_labels=24)  # as many as a batch has tokens
    params = make_params(config)

    def call(batch, last=0.0, segments=True):
        if not segments:
            batch = {**batch, "token_type_ids": 0 * batch["token_type_ids"]}
        return np.array(outputs_of(config, params, batch)) + last * (np.arange(24) == 23)

    assert compare(config, params, call)["max_abs_diff"] < 1e-6
    for options in ({"last": 1.0}, {"segments": False}):
        with pytest.raises(RuntimeError):
            compare(config, params, functools.partial(call, **options))


def test_a_wrong_export_does_not_appear(tmp_path, monkeypatch):
    wrong = FORMATS["stablehlo"]._replace(open=lambda *_: lambda batch: np.full((1, 1), 9.0))
    monkeypatch.setitem(FORMATS, "stablehlo", wrong)
    with pytest.raises(RuntimeError):
        export("stablehlo", RAGGED, make_params(RAGGED), tmp_path, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["torch", "onnxruntime"])
def test_onnx_names_the_extra_that_it_needs(tmp_path, monkeypatch, missing):
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    with pytest.raises(UserError, match=rf"needs {missing}, .*pip install 'bpjax\[onnx\]'"):
        export("onnx", RAGGED, make_params(RAGGED), tmp_path, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("preset", ["int8", "int8_tensor"])
def test_a_quantised_model_leaves_as_floats_or_as_integers(tmp_path, preset):
    config, params = quantize(RAGGED, make_params(RAGGED), preset)
    floats, dense = dequantize(config, params)
    assert export("hf", config, params, None, tmp_path / "hf") == {}
    data = json.loads((tmp_path / "hf/config.json").read_text())
    assert "quantization" not in data["bpjax"] and "auto_map" in data
    again, loaded = load_pretrained(tmp_path / "hf")
    assert again == floats
    jax.tree.map(np.testing.assert_array_equal, loaded, dense)

    found = export("stablehlo", config, params, None, tmp_path / "hlo")
    exported = jax.export.deserialize(bytearray((tmp_path / "hlo/model.stablehlo").read_bytes()))
    assert "xi8>" in exported.mlir_module() and "xi32>" in exported.mlir_module()
    assert found["max_abs_diff"] <= 1e-4

    padded, zeros = pad(config, params)
    assert padded.quantization is None
    batch = dict(zip(("input_ids", "attention_mask", "token_type_ids"), make_batch(), strict=True))
    expected = outputs_of(floats, dense, batch)
    assert relative(outputs_of(padded, zeros, batch), expected) < 1e-6
