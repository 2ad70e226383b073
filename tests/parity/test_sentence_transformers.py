"""Models of embeddings in sentence-transformers: the same, from their folder into ours and back."""

import numpy as np
import pytest
from checkpoints import assert_same
from sentence_models import TEXTS, TOKENIZER, WAYS, embedder

from bpjax.exports.formats import export
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.checkpoint import load_pretrained
from bpjax.prediction.model import load_model

sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="needs: pip install --no-deps sentence-transformers==6.2.0"
)

DENSE = {"heads": (4, 4), "intermediate": (20, 20)}
CASES = [
    *(("bert", way, "hf") for way in WAYS),
    *((family, "all", form) for family in ENCODERS for form in ("hf", "hf-padded")),
    ("bert", "mean", "dense"),
]


def embeddings(model, texts=TEXTS):
    return np.array([answer["embedding"] for answer in model.predict(texts)])


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_both_embed_alike(tmp_path, case):
    family, way, form = case
    config, params = embedder(family, way, **(DENSE if form == "dense" else {}))
    folder, again = tmp_path / "model", tmp_path / "again"
    export("hf" if form == "dense" else form, config, params, TOKENIZER, folder)
    ragged = form == "hf"
    theirs = sentence_transformers.SentenceTransformer(
        str(folder), trust_remote_code=ragged, device="cpu"
    )
    expected = theirs.encode(TEXTS)
    assert theirs.max_seq_length == (WAYS[way].max_length or config.max_positions)
    ours = load_model(folder)
    np.testing.assert_allclose(embeddings(ours), expected, atol=1e-5)
    # What it saves, in its newest form, is read as it was.
    theirs.save(str(again))
    found, same = load_pretrained(again)
    ours_again, _ = ours
    told = {"prompts": found.embedding.prompts, "similarity": found.embedding.similarity}
    assert set(ours_again.embedding.prompts) <= set(told["prompts"])
    np.testing.assert_allclose(embeddings(load_model(again)), expected, atol=1e-5)
    if form != "hf-padded":
        assert_same(same, params)


def test_real_weights(minilm_dir):
    theirs = sentence_transformers.SentenceTransformer(str(minilm_dir), device="cpu")
    texts = ["A man is playing a guitar.", "x " * 400, "Ünïcode — and CAPITALS"]
    ours = embeddings(load_model(minilm_dir), texts)
    np.testing.assert_allclose(ours, theirs.encode(texts), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_onnx_gives_the_embedding(tmp_path, family):
    runtime = pytest.importorskip("onnxruntime", reason="needs: pip install bpjax[onnx]")
    pytest.importorskip("onnxscript", reason="needs: pip install bpjax[onnx]")
    config, params = embedder(family, "all")
    told = export("onnx", config, params, TOKENIZER, tmp_path / "onnx")
    assert told["max_abs_diff"] < 1e-5
    session = runtime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    (output,) = session.get_outputs()
    assert (output.name, output.shape) == ("sentence_embedding", ["batch", 144])
