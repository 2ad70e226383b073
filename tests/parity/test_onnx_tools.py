"""ONNX Runtime's tools take an exported model as it is."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import model_of

pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
pytest.importorskip("onnxruntime", reason="needs: pip install bpjax[onnx]")

from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from torch.onnx._internal.exporter import _onnx_program

from bpjax.exports.formats import FORMATS, export
from bpjax.exports.onnx import open_onnx
from bpjax.exports.outputs import outputs_of
from bpjax.models.bert.encoders import ENCODERS

RAGGED = {"heads": (2, 0, 4), "intermediate": (7, 20, 0)}
DENSE = {"heads": (4, 4), "intermediate": (20, 20)}
NOTHING = {"heads": (0, 0), "intermediate": (0, 0)}
NARROW = {**RAGGED, "hidden_size": 43, "pooler_size": 48}
IDS = np.array([[2, 9, 17, 33, 3], [2, 8, 3, 1, 1]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
BATCH = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": 0 * IDS}


def export_model(folder, monkeypatch, family, head, sizes):
    """An exported model, and what bpjax answers."""
    config, params = model_of(family, head, **sizes)
    # Nothing is timed: that takes longest.
    monkeypatch.setitem(FORMATS, "onnx", FORMATS["onnx"]._replace(open=None))
    export("onnx", config, params, folder, folder / "onnx")
    batch = jax.tree.map(jnp.asarray, BATCH)
    return config, np.asarray(outputs_of(config, params, batch))


def apart(config, path, expected, tmp_path):
    """How far the answers of an ONNX file are from the expected ones, at real tokens."""
    (tmp_path / "model.onnx").unlink(missing_ok=True)
    path.rename(tmp_path / "model.onnx")
    difference = np.abs(open_onnx(config, tmp_path)(BATCH) - expected)
    return np.max(difference[MASK == 1] if difference.shape[:2] == MASK.shape else difference)


@pytest.mark.parametrize(
    ("family", "head", "sizes"),
    [
        ("bert", "classification", RAGGED),
        ("bert", "regression", DENSE),
        ("bert", "none", RAGGED),
        ("roberta", "classification", NARROW),
        ("roberta", "tokens", RAGGED),
        ("distilbert", "classification", NOTHING),
        ("distilbert", "span", RAGGED),
    ],
)
def test_a_model_is_quantised_and_optimised(tmp_path, monkeypatch, family, head, sizes):
    config, expected = export_model(tmp_path, monkeypatch, family, head, sizes)
    exported, changed = tmp_path / "onnx/model.onnx", tmp_path / "changed.onnx"

    quantize_dynamic(exported, changed, weight_type=QuantType.QInt8)
    assert changed.stat().st_size < exported.stat().st_size
    assert 0 < apart(config, changed, expected, tmp_path) < 0.15 * np.abs(expected).max()

    # With the numbers that config.json has, as optimum reads them.
    data = json.loads((tmp_path / "onnx/config.json").read_text())
    fields = ENCODERS[family].fields
    heads, hidden = data[fields["heads"]], data[fields["hidden_size"]]
    monkeypatch.setattr(logging.getLogger("onnxruntime"), "disabled", True)
    optimised = optimize_model(str(exported), "bert", heads, hidden)
    # Each is one operator already, and a norm is faster without the sum before it.
    kinds = [node.op_type for node in optimised.model.graph.node]
    assert kinds.count("MultiHeadAttention") == sum(heads > 0 for heads in config.heads)
    assert "SkipLayerNormalization" not in kinds and "LayerNormalization" in kinds
    optimised.save_model_to_file(str(changed))
    assert apart(config, changed, expected, tmp_path) < 1e-5


def test_a_model_whose_weights_lie_beside_it(tmp_path, monkeypatch):
    """As those of a model of more than 2 GB do."""
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    config, expected = export_model(tmp_path, monkeypatch, "bert", "classification", RAGGED)
    folder = tmp_path / "onnx"
    assert {each.name for each in folder.iterdir()} == {
        "config.json",
        "model.onnx",
        "model.onnx.data",
    }
    assert np.max(np.abs(open_onnx(config, folder)(BATCH) - expected)) < 1e-5
    quantize_dynamic(folder / "model.onnx", tmp_path / "changed.onnx")
    assert apart(config, tmp_path / "changed.onnx", expected, tmp_path) < 0.05
