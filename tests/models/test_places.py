"""Each tensor of a checkpoint has one place in the model, or the checkpoint is refused."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import (
    DENSE,
    assert_same,
    change_json,
    random_params,
    refused,
    rewrite,
    saved,
)
from safetensors.numpy import load_file, save_file

from bpjax import models
from bpjax.models.checkpoint import load_pretrained, save_pretrained

CLASSES = DENSE.replace(head="classification", num_labels=3)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_a_wrappers_prefix_is_taken_off(tmp_path, prefix):
    params = saved(tmp_path, CLASSES)
    rewrite(tmp_path, lambda ts: {prefix + name: value for name, value in ts.items()})
    assert_same(load_pretrained(tmp_path)[1], params)
    rewrite(tmp_path, lambda ts: ts | {"classifier.other": np.zeros(3, np.float32)})
    with refused("begins with .* and classifier.other does not"):
        load_pretrained(tmp_path)


def test_two_names_of_one_tensor_are_refused(tmp_path):
    saved(tmp_path)
    twin = {"bert.pooler.dense.bias": np.ones(12, np.float32)}
    rewrite(tmp_path, lambda ts: ts | twin)
    with refused("pooler.dense.bias and bert.pooler.dense.bias mean the same tensor"):
        load_pretrained(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[8:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    index = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with refused(f"b.safetensors: {names[8]} is in another file too"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("classifier.extra", "has no place in a model of 2 layers with a classification head"),
        ("crf.transitions", "name the class of its head in architectures"),
        ("bert.encoder.layer.0.attention.self.query.lora_A", "merge it into the weights"),
        ("bert.encoder.layer.1.attention.self.distance_embedding.weight", "relative positions"),
        ("bert.encoder.layer.0.crossattention.self.query.weight", "choose an encoder"),
        ("bert.embeddings.other.weight", "use the config.json and model.safetensors of one model"),
    ],
)
def test_a_tensor_without_a_place_is_refused(tmp_path, name, message):
    saved(tmp_path, CLASSES)
    rewrite(tmp_path, lambda ts: ts | {name: np.ones(3, np.float32)})
    with refused(message):
        load_pretrained(tmp_path)
    if name.startswith("bert."):
        with refused(message):
            load_pretrained(tmp_path, head="span")
    else:  # another head's, which a new one takes the place of
        assert load_pretrained(tmp_path, head="span")[0].head == "span"


def test_what_no_such_model_reads_is_left(tmp_path):
    config = DENSE.replace(head="span")
    params = saved(tmp_path, config)
    unread = {
        "bert.pooler.dense.weight": np.ones((12, 12), np.float32),
        "bert.pooler.dense.bias": np.ones(12, np.float32),
        "bert.embeddings.position_ids": np.arange(16)[None],
    }
    rewrite(tmp_path, lambda ts: ts | unread)
    assert_same(load_pretrained(tmp_path)[1], params)


def test_nothing_is_drawn_for_a_saved_model(tmp_path):
    params = saved(tmp_path / "a")
    rewrite(tmp_path / "a", lambda ts: {k: v for k, v in ts.items() if "pooler" not in k})
    config, found = load_pretrained(tmp_path / "a")
    assert "pooler" not in found and config.pooled == 0
    assert_same(found | {"pooler": params["pooler"]}, params)
    again, same = load_pretrained(save_pretrained(tmp_path / "b", config, found))
    assert again == config
    assert_same(same, found)
    assert models.describe(config).streams["hidden"].readers == ()
    # Asked for another head, it gets what that head needs.
    assert load_pretrained(tmp_path / "a", head="classification")[0].pooled == 12


def test_a_file_without_a_class_has_no_head(tmp_path):
    saved(tmp_path, CLASSES)
    change_json(tmp_path, architectures=None)
    with refused("classifier.bias has no place in a model of 2 layers without a head.*architect"):
        load_pretrained(tmp_path)
    # Who asks for one gets what fits.
    config, found = load_pretrained(tmp_path, head="classification", num_labels=3)
    assert found["head"]["bias"].any()


def test_more_outputs_than_names_are_told(tmp_path):
    saved(tmp_path, CLASSES)
    change_json(tmp_path, id2label={"0": "a", "1": "b"}, label2id={})
    with refused(r"classifier.weight has 3 outputs: expected 2, as many as labels in config.json"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused_alone_and_beside_its_base(tmp_path, name):
    saved(tmp_path / "beside")
    (tmp_path / "alone").mkdir()
    for folder in ("beside", "alone"):
        (tmp_path / folder / name).write_text("{}")
        with refused(f"{name} is an adapter's"):
            load_pretrained(tmp_path / folder)


def test_pruned_heads_are_applied(tmp_path):
    config = DENSE.replace(heads=(1, 3), head="span")
    params = random_params(config)
    save_pretrained(tmp_path, config, params)
    # As transformers 4 saves it: dense numbers, smaller tensors.
    path = tmp_path / "config.json"
    data = json.loads(path.read_text()) | {
        "architectures": ["BertForQuestionAnswering"],
        "num_attention_heads": 3,
        "intermediate_size": 10,
        "pruned_heads": {"0": [2, 0]},
    }
    del data["bpjax"]
    path.write_text(json.dumps(data))
    found, loaded = load_pretrained(tmp_path)
    assert found.heads == (1, 3) and found.dense_sizes == ((3, 3), (10, 10), 12)
    assert_same(loaded, params)
    for pruned in ({"2": [0]}, {"0": [3]}, {"0": [0, 0]}, {"x": [0]}, {"0": 1}):
        change_json(tmp_path, pruned_heads=pruned)
        with refused("pruned_heads has .*expected heads below 3 of layers below 2"):
            load_pretrained(tmp_path)


def test_ids_without_a_row_are_no_number(tmp_path):
    params = saved(tmp_path, DENSE)
    ids = jnp.array([[1, 2, 3]])

    def hidden(ids, types=0 * ids):
        module = models.build(DENSE)
        return module.apply({"params": params}, ids, jnp.ones_like(ids), types).hidden

    assert np.isfinite(hidden(ids)).all()
    for bad in (40, -1, 2**30):
        assert np.isnan(hidden(ids.at[0, 1].set(bad))).any()
        assert np.isnan(hidden(ids, (0 * ids).at[0, 1].set(bad))).any()
