"""Checkpoints in: what PyTorch computes, names, shapes, shrunken sizes, heads and sources."""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import DENSE, RAGGED, assert_same, refused, rewrite, saved
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from bpjax import models
from bpjax.models import bert, sources
from bpjax.models import tokenizer as tokenizers
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.checkpoint import load_pretrained, read_config, save_pretrained
from bpjax.models.heads import HEADS

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "minilm.npz"


# What PyTorch computes


def test_hidden_states_match_pytorch(minilm_dir):
    golden = np.load(GOLDEN)
    config, params = load_pretrained(minilm_dir)
    batch = [jnp.asarray(golden[k]) for k in ("input_ids", "attention_mask", "token_type_ids")]
    outputs = jax.jit(
        lambda params: bert.Bert(config).apply({"params": params}, *batch, hidden_states=True)
    )(params)
    real = golden["attention_mask"].astype(bool)
    states = np.stack([*outputs.hidden_states.values()])[:, real]
    assert states.shape[0] == 7
    np.testing.assert_allclose(states[..., ::4], golden["states"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(states[-1], golden["last"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(outputs.hidden, outputs.hidden_states["layer_5"])


def test_tokenizer_gives_the_golden_ids(minilm_dir):
    tokenizer = tokenizers.load_tokenizer(minilm_dir)
    tokenizers.check_vocabulary(tokenizer, load_pretrained(minilm_dir)[0])
    row = tokenizer("A gripping, often funny film.")["input_ids"]
    golden = np.load(GOLDEN)
    assert row == golden["input_ids"][1][golden["attention_mask"][1] == 1].tolist()


# Names, shapes and sizes


@pytest.mark.parametrize("head", ENCODERS["bert"].classes)
@pytest.mark.parametrize("sizes", [DENSE, RAGGED], ids=["dense", "ragged"])
def test_table_is_the_models_own(sizes, head):
    labels = {} if head == "embedding" else {"num_labels": HEADS[head].outputs(3)}
    config = sizes.replace(head=head, **labels)
    init = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    shapes = {k: v.shape for k, v in traverse_util.flatten_dict(init, sep="/").items()}
    assert shapes == {path: x.shape for path, x in bert.ARCHITECTURE.tensors(config).items()}


# But for embeddings, of which test_sentence_files.py has the same.
@pytest.mark.parametrize("head", [name for name in ENCODERS["bert"].classes if name != "embedding"])
@pytest.mark.parametrize(
    "sizes",
    [
        DENSE,
        RAGGED,
        DENSE.replace(heads=(2, 2)),  # alike layers, but heads are missing
        DENSE.replace(intermediate=(0, 0)),
        DENSE.replace(heads=(0, 0), intermediate=(0, 0)),
    ],
    ids=["dense", "ragged", "fewer", "no ffn", "empty"],
)
def test_round_trip_is_exact(tmp_path, sizes, head):
    labels = HEADS[head].outputs(2 if head == "none" else 5)
    problem = HEADS[head].problem_type
    config = sizes.replace(head=head, num_labels=labels, problem_type=problem)
    params = saved(tmp_path / "a", config)
    found, loaded = load_pretrained(tmp_path / "a", head="saved")
    assert found == config
    assert_same(loaded, params)
    save_pretrained(tmp_path / "b", found, loaded)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_stored_layout_is_hugging_faces(tmp_path):
    config = DENSE.replace(head="classification", num_labels=3)
    params = saved(tmp_path, config)
    tensors = load_file(tmp_path / "model.safetensors")
    kernel = params["layer_1"]["ffn"]["in"]["kernel"]
    np.testing.assert_array_equal(
        tensors["bert.encoder.layer.1.intermediate.dense.weight"], kernel.T
    )
    np.testing.assert_array_equal(
        tensors["bert.embeddings.word_embeddings.weight"], params["embeddings"]["word"]["embedding"]
    )
    assert tensors["classifier.weight"].shape == (3, 12)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["architectures"] == ["BertForSequenceClassification"]
    assert data["num_attention_heads"] == 3
    assert data["intermediate_size"] == 10
    assert data["hidden_dropout_prob"] == 0.2
    assert data["attention_probs_dropout_prob"] == 0.3
    assert len(data["id2label"]) == 3
    assert "bpjax" not in data


# The config of FacebookAI/roberta-base on the hub, and the shapes of its embeddings.
ROBERTA = {
    "architectures": ["RobertaForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "roberta",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "vocab_size": 50265,
}
ROBERTA_EMBEDDINGS = {
    "word_embeddings": (50265, 768),
    "position_embeddings": (514, 768),
    "token_type_embeddings": (1, 768),
}


def test_robertas_first_two_positions_are_of_no_token(tmp_path):
    config = bert.ARCHITECTURE.read(ROBERTA, "none", 2, "config.json")
    assert config.max_positions == 512
    stored = {x.name: x.shape for x in bert.ARCHITECTURE.tensors(config).values()}
    for name, shape in ROBERTA_EMBEDDINGS.items():
        assert stored[f"embeddings.{name}.weight"] == shape
    assert bert.ARCHITECTURE.write(config)["max_position_embeddings"] == 514

    small = DENSE.replace(model_type="roberta", max_positions=6, type_vocab_size=1)
    params = saved(tmp_path, small)
    assert load_pretrained(tmp_path, head="saved")[0] == small
    ids, ones = jnp.arange(2, 8)[None], jnp.ones((1, 6), jnp.int32)

    def hidden(row):
        """Of six tokens, with one row of the positions changed."""
        table = params["embeddings"]["position"]["embedding"].at[row, 0].add(1.0)
        embeddings = params["embeddings"] | {"position": {"embedding": table}}
        changed = params | {"embeddings": embeddings}
        return bert.Bert(small).apply({"params": changed}, ids, ones, 0 * ones).hidden

    # Eight rows: a token each has the last six.
    found = [np.asarray(hidden(row)) for row in range(8)]
    np.testing.assert_array_equal(found[0], found[1])
    assert all(np.abs(other - found[0]).max() > 1e-4 for other in found[2:])


def test_shrunken_config_claims_no_single_size(tmp_path):
    saved(tmp_path, RAGGED)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["architectures"] == ["BpjaxBertModel"]
    assert data["num_attention_heads"] == data["intermediate_size"] == 0
    saved_sizes = data["bpjax"]
    assert (saved_sizes["format"], saved_sizes["head_dim"], saved_sizes["changes"]) == (2, 4, {})
    units = saved_sizes["sizes"]["units"]
    assert [units[f"layer_{i}/attention"] for i in range(4)] == [1, 0, 3, 0]
    assert [units[f"layer_{i}/ffn"] for i in range(4)] == [0, 7, 10, 0]
    assert saved_sizes["sizes"]["streams"] == {"hidden": 12}


def old_names(tensors):
    return {
        f"bert.{name}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tensors.items()
    } | {
        "bert.embeddings.position_ids": np.arange(16)[None],
        "cls.predictions.bias": np.zeros(40, np.float32),
    }


def test_other_spellings_of_names_are_read(tmp_path):
    params = saved(tmp_path)
    rewrite(tmp_path, old_names)
    assert_same(load_pretrained(tmp_path, head="none")[1], params)
    with refused("cls.predictions.bias has no place in a model of 2 layers without a head"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_narrow_weights_become_float32(tmp_path, kind):
    params = saved(tmp_path)
    rewrite(tmp_path, lambda ts: {k: np.asarray(jnp.asarray(v, kind)) for k, v in ts.items()})
    narrow = jax.tree.map(lambda x: x.astype(kind).astype(jnp.float32), params)
    assert_same(load_pretrained(tmp_path)[1], narrow)


def test_shards_are_joined(tmp_path):
    params = saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    shards = {name: f"model-{len(name) % 2}.safetensors" for name in tensors}
    for shard in set(shards.values()):
        save_file({k: v for k, v in tensors.items() if shards[k] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert_same(load_pretrained(tmp_path)[1], params)

    (tmp_path / "model-1.safetensors").unlink()
    with refused("model-1.safetensors"):
        load_pretrained(tmp_path)


# Heads


def test_head_is_drawn_when_absent_and_kept_when_it_fits(tmp_path):
    params = saved(tmp_path, DENSE.replace(head="classification", num_labels=3))
    kept = load_pretrained(tmp_path, head="classification", num_labels=3)[1]
    np.testing.assert_array_equal(kept["head"]["kernel"], params["head"]["kernel"])
    np.testing.assert_array_equal(kept["pooler"]["kernel"], params["pooler"]["kernel"])

    config, other = load_pretrained(tmp_path, head="classification", num_labels=4)
    assert config.num_labels == 4
    assert other["head"]["kernel"].shape == (12, 4)
    assert not other["head"]["bias"].any()

    config, span = load_pretrained(tmp_path, head="span", num_labels=7)
    assert config.num_labels == 2
    assert span["head"]["kernel"].shape == (12, 2)
    assert "pooler" not in span
    assert load_pretrained(tmp_path, head="regression")[0].num_labels == 1


def test_pooler_and_head_are_drawn_from_the_rng(tmp_path):
    config = DENSE.replace(hidden_size=120, head_dim=40)
    saved(tmp_path, config.replace(head="span"))

    def load(seed):
        rng = jax.random.key(seed)
        return load_pretrained(tmp_path, head="classification", num_labels=120, rng=rng)[1]

    first, again, other = load(1), load(1), load(2)
    assert_same(first, again)
    for part in ("pooler", "head"):
        assert abs(first[part]["kernel"].std() - 0.02) < 0.001
        assert not np.allclose(first[part]["kernel"], other[part]["kernel"])
    assert not np.allclose(first["pooler"]["kernel"], first["head"]["kernel"])


def test_saved_head_must_be_there(tmp_path):
    saved(tmp_path, DENSE.replace(head="span"))
    rewrite(tmp_path, lambda ts: {k: v for k, v in ts.items() if k != "qa_outputs.weight"})
    with refused("qa_outputs.weight is missing"):
        load_pretrained(tmp_path, head="saved")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("none", 2)),
        ({"architectures": ["BertForSequenceClassification"]}, ("classification", 2)),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": 1}, ("regression", 1)),
        ({"architectures": ["BertForTokenClassification"], "num_labels": 1}, ("tokens", 1)),
        ({"architectures": ["BertForTokenClassification"], "num_labels": 9}, ("tokens", 9)),
    ],
)
def test_head_named_by_hugging_faces_config(tmp_path, fields, expected):
    data = bert.ARCHITECTURE.write(DENSE)
    del data["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(data | fields))
    config = read_config(tmp_path / "config.json")
    assert (config.head, config.num_labels) == expected


# Sources


def test_package_is_found_without_importing_it(tmp_path, monkeypatch):
    root = tmp_path / "some_tiny_bert"
    saved(root / "weights")
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sources.find_folder("some-tiny-bert") == root / "weights"
    assert load_pretrained("some_tiny_bert")[0] == DENSE
    assert "some_tiny_bert" not in sys.modules


def test_hub_is_asked_for_safe_files_only(tmp_path, monkeypatch):
    saved(tmp_path)
    asked = []

    def snapshot_download(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_pretrained("someone/tiny-bert")[0] == DENSE
    [(name, patterns)] = asked
    assert name == "someone/tiny-bert"
    assert "config.json" in patterns
    assert not [pattern for pattern in patterns if pattern.endswith(("bin", "*", "pt"))]


@pytest.mark.parametrize("source", ["no-such-model-anywhere", "/no/such/folder", "a/b/c"])
def test_unknown_source_is_refused(source):
    with refused(source):
        load_pretrained(source)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "epoch3.ckpt"])
def test_pickle_is_refused_by_name(tmp_path, name):
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    with refused(f"{name} is a pickle.*convert"):
        load_pretrained(tmp_path)
    with refused(f"{name} is a pickle.*convert"):
        load_pretrained(tmp_path / name)
