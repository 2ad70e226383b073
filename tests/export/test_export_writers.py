"""Exported encoder-decoders: a token at a time what the shrunken ones write."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import relative
from tiny_bart import KINDS, make_batch, make_params, make_writer, ragged, run

from bpjax.errors import UserError
from bpjax.exports import formats
from bpjax.exports.formats import FORMATS, export
from bpjax.exports.huggingface import pad
from bpjax.exports.outputs import DECODER_IDS, outputs_of
from bpjax.exports.stablehlo import open_stablehlo
from bpjax.models.bart import Stack
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.checkpoint import load_pretrained

SMALL = KINDS["mbart"].replace(
    encoder=Stack((2,), (0,), (), 2), decoder=Stack((0, 1), (3, 0), (2, 0), 3)
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_folder_has_the_classes_that_its_config_names(tmp_path, kind):
    config = ragged(KINDS[kind])
    export("hf", config, make_params(config), tmp_path, tmp_path / "out")
    code = (tmp_path / "out/modeling_bpjax.py").read_text()
    data = json.loads((tmp_path / "out/config.json").read_text())
    plain, writes = VARIANTS[kind].classes["none"], VARIANTS[kind].classes["seq2seq"]
    assert data["auto_map"] == {
        "AutoModel": f"modeling_bpjax.Bpjax{plain}",
        "AutoModelForSeq2SeqLM": f"modeling_bpjax.Bpjax{writes}",
    }
    families, writers = (
        re.findall(r'"(\w+)"', re.search(rf"{name} = \((.*?)\)\n", code, re.DOTALL)[1])
        for name in ("_FAMILIES", "_WRITERS")
    )
    assert plain.removesuffix("Model") in families and writes in writers
    assert data["encoder_ffn_dim"] == data["decoder_attention_heads"] == 0
    assert "max_length" not in data  # of which generation_config.json knows
    assert load_pretrained(tmp_path / "out")[0].stacks == config.stacks


@pytest.mark.parametrize("kind", ["bart", "pegasus"])
def test_a_padded_model_is_dense_and_the_same(kind):
    config, params = make_writer(ragged(KINDS[kind]))
    dense, padded = pad(config, params)
    assert set(dense.encoder.heads) == {3} and set(dense.decoder.cross) == {2}
    batch = make_batch(vocabulary=40)
    expected = run(config, params, batch=batch).logits
    assert relative(run(dense, padded, batch=batch).logits, expected) < 1e-5


def test_sines_that_transformers_would_make_anew(tmp_path):
    """It would make those of 4 dimensions, which are not 4 of the 6 before."""
    config = KINDS["marian"].replace(scaled_by=0)
    before = config.encoder, config.decoder, 6
    config = config.replace(hidden_size=4, dense_sizes=before).replace(
        encoder=Stack((2,), (3,), (), 2), decoder=Stack((2,), (3,), (2,), 2)
    )
    params = make_params(config)
    with pytest.raises(UserError, match="4 hidden dimensions, expected as many as before"):
        export("hf-padded", config, params, tmp_path, tmp_path / "out")
    export("hf", config, params, tmp_path, tmp_path / "out")
    data = json.loads((tmp_path / "out/config.json").read_text())
    assert data["architectures"] == ["BpjaxMarianMTModel"] and "auto_map" in data


def test_stablehlo_writes_without_bpjax(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "stablehlo", FORMATS["stablehlo"]._replace(open=None))
    config, params = make_writer(SMALL)
    folder = tmp_path / "out"
    export("stablehlo", config, params, tmp_path, folder)
    names = ("config.json", "generation_config.json", "start.stablehlo", "step.stablehlo")
    assert {path.name for path in folder.iterdir()} == {*names}

    batch = make_batch((5, 3, 7), vocabulary=40)
    batch[DECODER_IDS] = make_batch((6, 6, 6), vocabulary=40)["input_ids"]
    expected = np.asarray(outputs_of(config, params, batch))
    assert relative(open_stablehlo(config, folder)(batch), expected) < 1e-5

    # Of two beams a source the second writes another row's text.
    start, step = (
        jax.export.deserialize(bytearray((folder / name).read_bytes())) for name in names[2:]
    )
    assert step.platforms == ("cpu", "cuda", "tpu")
    texts = np.asarray(batch[DECODER_IDS])
    both = np.stack([texts, texts[[1, 2, 0]]], axis=1)
    cache = start.call(batch["input_ids"], batch["attention_mask"], texts)
    assert cache["own"]["layer_0"] is None  # it has no heads
    cache["own"] = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), cache["own"])
    for place in range(3):
        logits, cache = step.call(both[..., place], place, cache)
        assert relative(logits[:, 0], expected[:, place]) < 1e-5
    assert relative(logits[:, 1], expected[:, 2]) > 0.01


@pytest.mark.parametrize("heads", [(0, 0), (2, 1)])
def test_a_model_without_heads_or_head_in_stablehlo(tmp_path, monkeypatch, heads):
    """Without heads there is nothing whose size tells how long the texts are."""
    monkeypatch.setitem(FORMATS, "stablehlo", FORMATS["stablehlo"]._replace(open=None))
    config = SMALL.replace(decoder=SMALL.decoder.replace(heads=heads, cross=(0, 0)))
    if all(heads):
        config = config.replace(head="none", num_labels=2)
    params = make_params(config)
    export("stablehlo", config, params, tmp_path, tmp_path / "out")
    batch = make_batch()
    batch[DECODER_IDS] = make_batch((2, 2, 2))["input_ids"]
    found = open_stablehlo(config, tmp_path / "out")(batch)
    assert relative(found, outputs_of(config, params, batch)) < 1e-5


def test_a_model_that_writes_something_else_is_not_passed():
    config = SMALL.replace(decoder=Stack((1,), (3,), (2,), 3))
    params = make_params(config)
    ours = jax.jit(functools.partial(outputs_of, config))

    def call(batch, wrong=0.0):
        answers = np.array(ours(params, batch))
        answers[-1, -1] += wrong  # behind the last token of the last text, where sources are padded
        return answers

    found = formats.compare(config, params, call, timed=(1, 5))
    assert found["max_abs_diff"] == 0 and found["ms"] > 0
    for wrong in (1e-3, np.nan):
        with pytest.raises(RuntimeError, match="differs by"):
            formats.compare(config, params, functools.partial(call, wrong=wrong))
