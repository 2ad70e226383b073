"""Exported models compute what the shrunken ones do."""

import sys

import jax
import numpy as np
import pytest
from tiny import TINY, make_batch, make_params, relative, run

from bpjax.deploy.answer import answer
from bpjax.deploy.export import FORMATS, compare
from bpjax.deploy.huggingface import pad
from bpjax.errors import UserError
from bpjax.models.families import FAMILIES

RAGGED = TINY.replace(heads=(0, 2), intermediate=(3, 0))


@pytest.mark.parametrize("original", [None, (TINY.heads, (5, 5))])
def test_a_padded_model_is_dense_and_the_same(original):
    config = RAGGED.replace(original=original)
    params = make_params(config)
    dense, padded = pad(config, params)
    assert dense.heads == (3, 3)  # hidden size 6, heads of 2
    assert dense.intermediate == ((5, 5) if original else (3, 3))
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
    types = FAMILIES[family].token_types
    config = RAGGED.replace(head=head, family=family, type_vocab_size=types, num_labels=2)
    params = make_params(config)
    form = FORMATS["stablehlo"]
    form.save(config, params, tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.stablehlo",
    }
    found = compare(config, params, form.open(tmp_path / "out"))
    assert found["max_abs_diff"] < 1e-5 and found["ms"] > 0
    exported = jax.export.deserialize(bytearray((tmp_path / "out/model.stablehlo").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    ids, mask, _ = make_batch()
    for rows in (1, 3):
        given = ids[:rows], mask[:rows], 0 * ids[:rows]
        batch = dict(zip(("input_ids", "attention_mask", "token_type_ids"), given, strict=True))
        expected = answer(config, params, batch)
        assert relative(exported.call(*given), expected) < 1e-5


def test_a_model_that_says_something_else_is_not_passed():
    params = make_params(RAGGED)
    with pytest.raises(RuntimeError, match="differs by"):
        compare(RAGGED, params, lambda batch: np.asarray(answer(RAGGED, params, batch)) + 1e-3)


@pytest.mark.parametrize("missing", ["torch", "onnxruntime"])
def test_onnx_names_the_extra_that_it_needs(tmp_path, monkeypatch, missing):
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    with pytest.raises(UserError, match=rf"needs {missing}, .*pip install 'bpjax\[onnx\]'"):
        FORMATS["onnx"].save(RAGGED, make_params(RAGGED), tmp_path, tmp_path / "out")
    assert not any(tmp_path.iterdir())
