"""Encoder-decoders in ONNX: the three files of optimum, a token at a time."""

import json

import numpy as np
import pytest
from tiny_bart import KINDS, make_batch, make_writer

pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
pytest.importorskip("onnxruntime", reason="needs: pip install bpjax[onnx]")

from bpjax.errors import UserError
from bpjax.exports import formats
from bpjax.exports.formats import FORMATS, export
from bpjax.exports.onnx import open_onnx
from bpjax.exports.onnx_graph import start_session
from bpjax.exports.outputs import DECODER_IDS, outputs_of
from bpjax.generation import generate

BATCH = make_batch((5, 3, 1, 6), (4, 1, 6, 2), 40)


def export_model(folder, monkeypatch, config, params):
    # Nothing is timed: that takes longest.
    monkeypatch.setitem(FORMATS, "onnx", FORMATS["onnx"]._replace(open=None))
    export("onnx", config, params, folder, folder / "onnx")
    return folder / "onnx"


def test_a_ragged_model(tmp_path, monkeypatch):
    config = KINDS["bart"]
    config, params = make_writer(
        config.replace(
            encoder=config.encoder.replace(heads=(0, 2), ffn=(3, 0)),
            decoder=config.decoder.replace(heads=(0, 2), ffn=(3, 0), cross=(2, 0)),
        )
    )
    folder = export_model(tmp_path, monkeypatch, config, params)
    files = ("encoder_model", "decoder_model", "decoder_with_past_model")
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json"),
        *(f"{name}.onnx" for name in files),
    }
    data = json.loads((folder / "config.json").read_text())
    assert data["encoder_attention_heads"] == data["decoder_attention_heads"] == 1

    call = open_onnx(config, folder)
    settings = config.generation.replace(max_length=9, no_repeat_ngram_size=0)
    texts = generate(config, {"params": params}, BATCH, settings).tokens
    given = {**BATCH, DECODER_IDS: texts}
    for rows, length in ((slice(0, 4), 9), (slice(1, 2), 1)):
        batch = {name: x[rows] for name, x in given.items()}
        batch[DECODER_IDS] = batch[DECODER_IDS][:, :length]
        found, expected = call(batch), np.asarray(outputs_of(config, params, batch))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    # What it would write is the same text, for each of its tokens follows from those before.
    free = np.asarray(texts)[:, 1:-1]  # the last one is forced
    written = free != settings.fill
    np.testing.assert_array_equal(call(given)[:, :-2].argmax(-1)[written], free[written])

    encoder, decoder, later = (start_session(folder / f"{name}.onnx") for name in files)
    assert [x.name for x in encoder.get_inputs()] == ["input_ids", "attention_mask"]
    assert [x.name for x in encoder.get_outputs()] == ["last_hidden_state"]
    assert [x.name for x in decoder.get_inputs()] == [
        *("input_ids", "encoder_attention_mask", "encoder_hidden_states")
    ]
    assert [x.name for x in decoder.get_outputs()] == [
        "logits",
        *(
            f"present.{i}.{stack}.{part}"
            for i in range(2)
            for stack in ("decoder", "encoder")
            for part in ("key", "value")
        ),
    ]
    past = {x.name: x.shape for x in later.get_inputs()}
    assert [*past][:2] == ["input_ids", "encoder_attention_mask"]
    names = [x.name for x in decoder.get_outputs()][1:]
    assert [*past][2:] == [name.replace("present", "past_key_values") for name in names]
    assert [x.name for x in later.get_outputs()] == [
        "logits",
        *(name for name in names if ".decoder." in name),
    ]
    # A layer without heads has one of size 1.
    for name, expected in (
        ("0.decoder.key", (1, 1)),
        ("0.encoder.key", (2, 6)),
        ("1.decoder.value", (2, 6)),
        ("1.encoder.value", (1, 1)),
    ):
        _, heads, _, size = past[f"past_key_values.{name}"]
        assert (heads, size) == expected


def test_a_model_whose_norms_stand_before(tmp_path, monkeypatch):
    config = KINDS["pegasus"]
    config, params = make_writer(
        config.replace(
            encoder=config.encoder.replace(heads=(2,), ffn=(0,)),
            decoder=config.decoder.replace(heads=(0,), ffn=(3,), cross=(0,)),
        )
    )
    folder = export_model(tmp_path, monkeypatch, config, params)
    found = formats.compare(config, params, open_onnx(config, folder))
    assert found["max_abs_diff"] < 1e-4 and found["ms"] > 0


def test_a_model_without_a_head_is_refused(tmp_path):
    config, params = make_writer(KINDS["bart"])
    del params["head"]
    config = config.replace(head="none", num_labels=2)
    with pytest.raises(UserError, match="head 'none': expected one that writes texts; take"):
        export("onnx", config, params, tmp_path, tmp_path / "out")
