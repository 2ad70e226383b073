"""The hf folders of encoder-decoders in PyTorch: what comes next, and whole texts."""

import functools
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import assert_same
from test_hf_folder import interpreter
from tiny_bart import KINDS, make_batch, make_writer, ragged, run
from write_in_torch import BEAMS, MAX_LENGTH

from bpjax.exports.formats import export
from bpjax.generation import generate
from bpjax.models.bart import Stack
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.layers.embedding import sinusoids

BATCH = make_batch((5, 3, 1, 6, 9, 4), (4, 1, 6, 2, 9, 5), 40)
NOTHING = KINDS["bart"].replace(
    encoder=Stack((0,), (0,), (), 2), decoder=Stack((0,), (0,), (0,), 3)
)
MODELS = {
    **{kind: ragged(config) for kind, config in KINDS.items()},
    "nothing": NOTHING,
    "narrow": ragged(KINDS["marian"]),
    "affine": ragged(KINDS["mbart"]).replace(norm="affine"),
}
CASES = [*(("hf", name) for name in MODELS), *(("hf-padded", kind) for kind in KINDS)]


@functools.cache
def ours(name):
    """A model and what it answers: logits, and texts by as many beams."""
    config, params = make_writer(MODELS[name])
    if name == "narrow":
        before = config.encoder, config.decoder, 14
        config = config.replace(dense_sizes=before, scaled_by=14)
    elif VARIANTS[config.model_type].sinusoidal:  # PyTorch makes them anew
        for stack in config.stacks:
            waves = jnp.asarray(sinusoids(config.max_positions, config.hidden_size))
            params[stack]["positions"]["embedding"] = waves
    beams = 1 if name in ("mbart", "marian", "nothing") else BEAMS
    settings = config.generation.replace(num_beams=beams, max_length=MAX_LENGTH)
    texts = np.asarray(generate(config, {"params": params}, BATCH, settings).tokens)
    return config, params, run(config, params, batch=BATCH).logits, beams, texts


@pytest.fixture(scope="module", params=["installed", "old"])
def answers(request, tmp_path_factory):
    """By case: the exported folder and what PyTorch says of it."""
    python = interpreter(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    folders = {case: folder / "-".join(case) for case in CASES}
    for (form, name), path in folders.items():
        export(form, *ours(name)[:2], folder, path)
    given = {name: np.asarray(BATCH[name]) for name in ("input_ids", "attention_mask", "label")}
    np.savez(folder / "batch.npz", **given)
    script = __file__.replace("test_hf_writers", "write_in_torch")
    command = [python, script, folder / "batch.npz", *folders.values()]
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("4.57.") == (request.param == "old")
    return {case: (path, np.load(f"{path}.npz")) for case, path in folders.items()}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_torch_writes_as_bpjax(answers, case):
    *_, logits, beams, texts = ours(case[1])
    found = answers[case][1]
    real = np.asarray(BATCH["decoder_attention_mask"]).astype(bool)
    for name in ("eager", "sdpa", "again"):
        apart = np.abs(found[name] - np.asarray(logits))[real].max()
        assert apart <= 1e-5 * np.abs(logits).max(), name
    theirs = found["greedy" if beams == 1 else "beams"]
    np.testing.assert_array_equal(theirs, texts[:, : theirs.shape[1]])
    np.testing.assert_array_equal(found["beams"], found["without"])
    assert not found["told"].size
    assert len({*map(tuple, texts)}) > 3 or case[1] == "nothing"
    unread = ("encoder",) if case[1] == "nothing" else ("embed_positions",)
    assert all(any(part in name for part in unread) for name in found["still"])


@pytest.mark.parametrize("name", MODELS)
def test_layers_and_what_is_saved_again(answers, name):
    folder, found = answers["hf", name]
    config, params = ours(name)[:2]
    heads = {"encoder": config.encoder.heads, "decoder": config.decoder.heads}
    for part, left in {**heads, "cross": config.decoder.cross}.items():
        assert tuple(found[part]) == left
    back, same = load_pretrained(f"{folder}-again")
    assert back == load_pretrained(folder)[0]
    assert back.stacks == config.stacks and back.norm == config.norm
    assert_same(jax.device_get(same), params)


def test_states_without_a_head(tmp_path):
    torch = pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
    config, params = make_writer(ragged(KINDS["pegasus"]))
    del params["head"]
    config = config.replace(head="none", num_labels=2)
    export("hf", config, params, tmp_path, tmp_path / "out")
    auto = pytest.importorskip("transformers").AutoModel
    model = auto.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    ids, mask = (torch.tensor(np.asarray(BATCH[x])) for x in ("input_ids", "attention_mask"))
    shifted = torch.cat([torch.full_like(ids[:, :1], 2), ids[:, :-1]], dim=1)
    with torch.no_grad():
        found = model(ids, mask, decoder_input_ids=shifted).last_hidden_state
    apart = np.abs(found.numpy() - run(config, params, batch=BATCH).hidden)
    assert apart[mask.bool().numpy()].max() < 1e-5
