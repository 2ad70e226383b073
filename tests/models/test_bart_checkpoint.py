"""Checkpoints of BART and its relatives: names, tied tables, fields of config.json, sizes."""

import json

import jax
import numpy as np
import pytest
import transformers
from checkpoints import assert_same, change_json, refused, rewrite, saved
from flax import traverse_util
from safetensors.numpy import load_file
from tiny_bart import KINDS, TINY, ragged

from bpjax import models
from bpjax.models import bart
from bpjax.models.bart.fields import ALIASES, DEFAULTS, WITHOUT_EFFECT, taken
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.checkpoint import load_pretrained, read_config, save_pretrained
from bpjax.models.layers.embedding import sinusoids
from bpjax.pruning.structure import sizes_of

DENSE = TINY.replace(
    encoder=bart.Stack((3, 3), (5, 5), (), 2, 0.1), decoder=bart.Stack((2,), (4,), (2,), 3)
)
SIZES = {
    "dense": DENSE,
    "alike": DENSE.replace(decoder=DENSE.decoder.replace(cross=(1,))),
    "ragged": ragged(TINY),
    "empty": ragged(TINY).replace(encoder=TINY.encoder.replace(heads=(0, 0), ffn=(0, 0))),
}


def of_kind(config, kind):
    like = KINDS[kind]
    return config.replace(
        model_type=kind, scaled_by=like.scaled_by and 6, activation=like.activation
    )


@pytest.mark.parametrize("head", ["seq2seq", "none"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_table_is_the_models_own_and_round_trip_is_exact(tmp_path, kind, sizes, head):
    config = of_kind(SIZES[sizes], kind).replace(head=head, num_labels=20 if head != "none" else 2)
    init = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    shapes = {k: v.shape for k, v in traverse_util.flatten_dict(init, sep="/").items()}
    assert shapes == {path: x.shape for path, x in bart.tensors(config).items()}

    params = saved(tmp_path / "a", config)
    found, loaded = load_pretrained(tmp_path / "a")
    assert found == config
    assert_same(loaded, params)
    save_pretrained(tmp_path / "b", found, loaded)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_shrunken_models_remember_what_they_were(tmp_path):
    for kind in KINDS:
        before = of_kind(DENSE, kind)
        structure = models.describe(before)
        sizes = sizes_of(structure)
        units = {name: max(0, n - i) for i, (name, n) in enumerate(sizes.units.items())}
        small = models.resize(before, sizes._replace(units=units, streams={"hidden": 4}))
        assert small.scaled_by == before.scaled_by
        saved(tmp_path / kind, small)
        found = load_pretrained(tmp_path / kind)[0]
        assert found == small and bart.dense(found) == before
        assert sizes_of(models.describe(found)).units == units
        data = json.loads((tmp_path / kind / "config.json").read_text())
        assert data["architectures"][0].startswith("Bpjax")
        assert not {data[f"{x}_{y}"] for x in ("encoder", "decoder")
                    for y in ("attention_heads", "ffn_dim")} - {0}  # fmt: skip
        assert data["bpjax"]["sizes"]["units"] == units
        with refused("hidden dimensions, expected as many as before pruning"):
            bart.pad(small)
        whole = models.resize(before, sizes._replace(units=units))
        assert bart.pad(whole) == before


def test_stored_layout_is_hugging_faces(tmp_path):
    params = saved(tmp_path, of_kind(DENSE, "mbart"))
    tensors = load_file(tmp_path / "model.safetensors")
    layer = params["decoder"]["layer_0"]["cross_attention"]
    name = "model.decoder.layers.0.encoder_attn.k_proj.weight"
    np.testing.assert_array_equal(tensors[name], layer["key"]["kernel"].T)
    np.testing.assert_array_equal(tensors["final_logits_bias"][0], params["head"]["bias"])
    assert tensors["model.encoder.layer_norm.weight"].shape == (6,)
    assert tensors["model.encoder.embed_positions.weight"].shape == (11, 6)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["architectures"] == ["MBartForConditionalGeneration"]
    assert (data["encoder_attention_heads"], data["decoder_attention_heads"]) == (3, 2)
    assert (data["encoder_ffn_dim"], data["encoder_layerdrop"]) == (5, 0.1)
    assert data["scale_embedding"] is True and "bpjax" not in data


# What of a checkpoint may be missing, there twice, or called otherwise.


def tied(tensors, wrap="", without=(), **copies):
    table = tensors["model.shared.weight"]
    names = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    found = {**tensors, **dict.fromkeys((*names, "lm_head.weight"), table)}
    return {wrap + k: v.copy() for k, v in found.items() if not k.endswith(without)}


@pytest.mark.parametrize(
    "change",
    [
        tied,
        lambda x: tied(x, without=("shared.weight",)),
        lambda x: {k.removeprefix("model."): v for k, v in tied(x).items()},
        lambda x: {**x, "model.encoder.version": np.ones(1, np.float32)},
        lambda x: tied(x, "module."),
    ],
    ids=["all", "without shared", "without prefix", "version", "wrapped"],
)
def test_tied_tables_and_other_spellings_are_read(tmp_path, change):
    params = saved(tmp_path, DENSE)
    rewrite(tmp_path, change)
    assert_same(load_pretrained(tmp_path)[1], params)


@pytest.mark.parametrize(
    "name", ["model.shared.weight", "model.encoder.embed_tokens.weight", "lm_head.weight"]
)
def test_tables_that_are_not_tied_are_refused(tmp_path, name):
    saved(tmp_path, DENSE)
    rewrite(tmp_path, lambda x: {**tied(x), name: tied(x)[name] + np.float32(1e-6)})
    with refused("differs from model.shared.weight: expected one table of word embeddings"):
        load_pretrained(tmp_path)


def test_what_may_be_missing_is_what_transformers_makes_it(tmp_path):
    missing = ("final_logits_bias", "embed_positions.weight")
    for kind in KINDS:
        folder, config = tmp_path / kind, of_kind(DENSE, kind)
        params = saved(folder, config)
        rewrite(folder, lambda x: {k: v for k, v in x.items() if not k.endswith(missing)})
        if not VARIANTS[kind].sinusoidal:
            with refused("model.encoder.embed_positions.weight is missing"):
                load_pretrained(folder)
            continue
        found = load_pretrained(folder)[1]
        for stack in ("encoder", "decoder"):
            params[stack]["positions"]["embedding"] = sinusoids(9, 6)
        assert_same(found, params | {"head": {"bias": np.zeros(20, np.float32)}})


def test_a_head_is_put_on_a_model_without_one(tmp_path):
    params = saved(tmp_path, DENSE.replace(head="none", num_labels=2))
    config, found = load_pretrained(tmp_path, head="seq2seq")
    assert (config.head, config.num_labels) == ("seq2seq", 20)
    assert_same(found, params | {"head": {"bias": np.zeros(20, np.float32)}})


def test_other_heads_and_adapters_are_refused(tmp_path):
    saved(tmp_path, DENSE)
    rewrite(tmp_path, lambda x: {**x, "model.decoder.layers.7.fc1.weight": np.ones((2, 2), "f")})
    with refused("model.decoder.layers.7.fc1.weight has no place in a model of 3 layers"):
        load_pretrained(tmp_path)
    with refused("head 'classification': expected one of none, seq2seq"):
        load_pretrained(tmp_path, head="classification")
    change_json(tmp_path, architectures=["BartForSequenceClassification"])
    with refused("expected one of BartModel, BartForConditionalGeneration"):
        load_pretrained(tmp_path)


# config.json


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_transformers_has_its_place(kind):
    variant = VARIANTS[kind]
    named = {*DEFAULTS, *ALIASES, *taken(variant), *WITHOUT_EFFECT}
    named |= {"decoder_vocab_size"}
    config = transformers.CONFIG_MAPPING[kind]()
    data = config.to_dict()
    assert not set(data) - named
    assert dict(config.attribute_map).items() <= ALIASES.items()
    told = {**DEFAULTS, **variant.defaults}
    assert {name: data.get(name) for name in told} == told
    found = bart.read({"model_type": kind}, "seq2seq", 2, "config.json")
    sizes = found.vocab_size, found.hidden_size, found.max_positions
    assert sizes == (data["vocab_size"], 1024, 1024)
    assert found == bart.read(bart.write(found), "seq2seq", 2, "config.json")
    assert found == bart.read(data, "seq2seq", 2, "config.json")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"d_model": 7}, "encoder_attention_heads is 3: expected a divisor of d_model 7"),
        ({"decoder_layers": 0}, "decoder_layers is 0: expected a whole number above 0"),
        ({"encoder_layerdrop": 1.5}, "encoder_layerdrop is 1.5: expected a number in"),
        ({"hidden_size": 8}, "d_model is 6 and hidden_size, which means the same, is 8"),
        ({"activation_function": "tanh"}, "activation_function is 'tanh': expected one of gelu,"),
        ({"activation_function": []}, r"activation_function is \[\]: expected one of gelu,"),
        ({"scale_embedding": 1}, "scale_embedding is 1: expected true or false"),
        ({"pad_token_id": None}, "pad_token_id is None: expected a token of the vocabulary"),
        ({"decoder_start_token_id": None}, "decoder_start_token_id is None: expected a token"),
        ({"eos_token_id": [2, 20]}, "eos_token_id is 20: expected a token of the vocabulary"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False: expected True"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder is False: expected True"),
        ({"is_decoder": True}, "is_decoder is True: expected False"),
        ({"normalize_before": True}, "normalize_before is True: expected False"),
        ({"static_position_embeddings": True}, "static_position_embeddings is True"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings is False"),
        ({"decoder_vocab_size": 30}, "decoder_vocab_size is 30: expected that of the encoder, 20"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map names code of the model's own"),
    ],
)
def test_refuses_a_file(tmp_path, fields, match):
    saved(tmp_path, DENSE)
    change_json(tmp_path, **fields)
    with refused(match):
        load_pretrained(tmp_path)


def test_what_older_files_say_is_taken(tmp_path):
    """As facebook/bart-large-cnn says it, which was saved by transformers 2."""
    saved(tmp_path, DENSE)
    change_json(
        tmp_path,
        num_hidden_layers=2,
        normalize_before=False,
        normalize_embedding=True,
        add_final_layer_norm=False,
        static_position_embeddings=False,
        task_specific_params={"summarization": {"num_beams": 6}},
        id2label={"0": "contradiction", "1": "neutral", "2": "entailment"},
        label2id={"contradiction": 0, "neutral": 1, "entailment": 2},
    )
    config = read_config(tmp_path / "config.json")
    assert config == DENSE and config.labels == ()
    assert config == bart.read(bart.write(config), "seq2seq", 2, "config.json")


def test_mbart_starts_with_a_token_of_the_tokenizer_unless_it_says_another():
    config = bart.read({"model_type": "mbart"}, "seq2seq", 2, "config.json")
    assert (config.decoder_start_token_id, config.generation.decoder_start_token_id) == (None, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sizes": {}}, "sizes has None: expected 7 sizes"),
        ({"head_dim": 4}, "head_dim is 4: expected that of each stack"),
        ({"head_dim": {"encoder": 2}}, "decoder is missing: expected a whole number above 0"),
    ],
)
def test_refuses_sizes_that_are_none(tmp_path, change, match):
    saved(tmp_path, SIZES["alike"])
    data = json.loads((tmp_path / "config.json").read_text())
    change_json(tmp_path, bpjax=data["bpjax"] | change)
    with refused(match):
        load_pretrained(tmp_path)
    change_json(tmp_path, bpjax=3)
    with refused("bpjax is 3: expected sizes and head_dim"):
        load_pretrained(tmp_path)
