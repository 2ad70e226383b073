"""Folders of sentence-transformers: read as the library reads them, or refused; written for it."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from checkpoints import assert_same, random_params, refused
from sentence_models import TEXTS, TOKENIZER, WAYS, embedder
from small_run import save_model

from bpjax.models.checkpoint import (
    load_pretrained,
    read_config,
    read_saved_head,
    save_pretrained,
    write_config,
)
from bpjax.models.embedding import Embedding
from bpjax.models.sentence_files import embedding_files
from bpjax.models.sources import find_folder
from bpjax.prediction.model import load_model

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "sentence_embeddings.json"
POOLING, SETTINGS = "1_Pooling/config.json", "config_sentence_transformers.json"
ENCODER, MODULES = "sentence_bert_config.json", "modules.json"

# As sentence-transformers 6.2 writes it.
NEWEST = {
    MODULES: [
        {
            "name": "0",
            "path": "",
            "type": "sentence_transformers.base.modules.transformer.Transformer",
        },
        {
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        },
        {
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.base.modules.normalize.Normalize",
        },
    ],
    ENCODER: {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
        "module_output_name": "token_embeddings",
    },
    POOLING: {"embedding_dimension": 48, "pooling_mode": "mean", "include_prompt": True},
    "2_Normalize/config.json": {
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
    },
    SETTINGS: {
        "__version__": {"sentence_transformers": "6.2.0"},
        "default_prompt_name": None,
        "model_type": "SentenceTransformer",
        "prompts": {"document": "", "query": ""},
        "similarity_fn_name": "cosine",
    },
}


def change(folder, file, drop=(), **fields):
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    data = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in (data | fields).items() if k not in drop}))


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(data))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of each way to embed."""
    folder = tmp_path_factory.mktemp("models")
    for way in WAYS:
        save_pretrained(folder / way, *embedder(way=way), TOKENIZER)
    return folder


@pytest.fixture
def folder(models, tmp_path):
    return pathlib.Path(shutil.copytree(models / "mean", tmp_path / "model"))


@pytest.mark.parametrize("way", WAYS)
def test_embeds_as_sentence_transformers_does(models, way):
    model = load_model(models / way)
    found = model.predict(TEXTS, batch_size=3)
    expected = json.loads(GOLDEN.read_text())[way]
    np.testing.assert_allclose([x["embedding"] for x in found], expected, atol=1e-5)
    assert found[2]["cut"] and "cut" not in found[0]
    if WAYS[way].normalize:
        np.testing.assert_allclose(np.linalg.norm(expected, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_comes_back(models, way, tmp_path):
    config, params = embedder(way=way)
    found, same = load_pretrained(models / way)
    length = WAYS[way].max_length or config.max_positions
    expected = config.replace(
        embedding=Embedding(**vars(WAYS[way]) | {"max_length": length}),
        pad_token_id=config.pad_token_id or None,
    )
    assert found == expected
    assert_same(same, params)
    # Also beside a config of another name, as in a run's folder of a masked model.
    write_config(tmp_path / "model.json", found)
    assert read_config(tmp_path / "model.json") == found
    saved = read_saved_head(models / way / "config.json")
    assert (saved.head, saved.num_labels) == ("embedding", found.num_labels)
    assert saved.embedding == found.embedding


def test_the_newest_form_is_read(folder):
    expected = load_pretrained(folder)[0]
    for file in (MODULES, ENCODER, SETTINGS):
        (folder / file).unlink()
    shutil.rmtree(folder / "1_Pooling")
    write(folder, NEWEST)
    change(folder, "tokenizer_config.json", model_max_length=12)
    found = load_pretrained(folder)[0]
    assert found.embedding.prompts == (("document", ""), ("query", ""))
    assert found.embedding.similarity == "cosine"
    plain = Embedding(("mean",), True, 12)
    assert found.replace(embedding=plain) == expected.replace(embedding=plain)
    assert found.embedding.max_length == 12
    names = {str(path.relative_to(folder)) for path in embedding_files(folder)}
    assert names == {*NEWEST}


def test_the_oldest_layout_is_read(folder):
    expected, params = load_pretrained(folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(inner / name)
    (folder / ENCODER).rename(inner / "sentence_roberta_config.json")
    modules = json.loads((folder / MODULES).read_text())
    modules[0]["path"] = "0_Transformer"
    write(folder, {MODULES: modules})
    assert find_folder(folder) == inner
    for named in (folder, inner):
        found, same = load_pretrained(named)
        assert found == expected
        assert_same(same, params)


@pytest.mark.parametrize(
    ("file", "fields", "expected"),
    [
        (POOLING, {"pooling_mode": "max"}, {"pooling": ("max",)}),
        (POOLING, {"pooling_mode": ["max", "cls"]}, {"pooling": ("max", "cls")}),
        (POOLING, {"pooling_mode_cls_token": True}, {"pooling": ("cls", "mean")}),
        (ENCODER, {"max_seq_length": 7}, {"max_length": 7}),
        (ENCODER, {"max_seq_length": None}, {"max_length": 24}),
        (ENCODER, {"unpad_inputs": False}, {}),
        (ENCODER, {"model_args": {}, "tokenizer_args": None}, {}),
        (ENCODER, {"do_lower_case": True}, {}),  # as its tokenizer does
        (
            SETTINGS,
            {"prompts": {"q": "ask: "}, "default_prompt_name": "q"},
            {"prompts": (("q", "ask: "),), "default_prompt": "q"},
        ),
        (
            SETTINGS,
            {"default_prompt_name": "query"},
            {"prompts": (("query", ""),), "default_prompt": "query"},
        ),
        (SETTINGS, {"prompts": {"document": None}}, {"prompts": (("document", ""),)}),
        (SETTINGS, {"anything": 1}, {}),
        ("config.json", {"architectures": ["BpjaxBertForMaskedLM"]}, {}),
    ],
    ids=str,
)
def test_what_is_taken(folder, file, fields, expected):
    before = read_config(folder / "config.json").embedding
    change(folder, file, **fields)
    assert read_config(folder / "config.json").embedding == Embedding(**vars(before) | expected)


def module(kind, path="2_Dense"):
    return {"idx": 2, "name": "2", "path": path, "type": f"sentence_transformers.models.{kind}"}


@pytest.mark.parametrize(
    ("file", "fields", "match"),
    [
        (
            POOLING,
            {"pooling_mode": "weightedmean"},
            "pooling_mode is weightedmean: expected some of",
        ),
        (
            POOLING,
            {"pooling_mode_lasttoken": True},
            "pooling_mode is mean, lasttoken: expected some",
        ),
        (POOLING, {"pooling_mode_mean_tokens": False}, "no pooling_mode is true: expected one of"),
        (POOLING, {"pooling_mode_mean_tokens": "yes"}, "is 'yes': expected true or false; correct"),
        (POOLING, {"pooling_mode": 3}, "pooling_mode is 3: expected some of cls, max, mean"),
        (POOLING, {"include_prompt": False}, "include_prompt is False: expected True; choose"),
        (POOLING, {"new": 1}, "new is 1: expected one of .*; remove it if it changes no embedding"),
        (
            ENCODER,
            {"max_seq_length": 25},
            "max_seq_length is 25: expected a whole number of 1 to 24",
        ),
        (ENCODER, {"max_seq_length": "7"}, "max_seq_length is '7': expected a whole number"),
        (
            ENCODER,
            {"transformer_task": "fill-mask"},
            "is 'fill-mask': expected 'feature-extraction'",
        ),
        (
            ENCODER,
            {"model_args": {"dtype": "float16"}},
            "model_args is {'dtype': .*}: expected {};",
        ),
        (ENCODER, {"query_length": 4}, "query_length is 4: expected None; choose another model"),
        (ENCODER, {"more": 4}, "more is 4: expected one of "),
        (SETTINGS, {"model_type": "SparseEncoder"}, "is 'SparseEncoder': expected 'SentenceTransf"),
        (SETTINGS, {"default_prompt_name": "x"}, "default_prompt_name is 'x': expected one of"),
        (SETTINGS, {"prompts": ["a"]}, "prompts is .*: expected texts; correct it"),
        (SETTINGS, {"prompts": {"a": 1}}, "prompts is .*: expected texts; correct it"),
        (SETTINGS, {"similarity_fn_name": "l3"}, "similarity_fn_name is 'l3': expected one of"),
        (
            "2_Normalize/config.json",
            {"module_input_name": "token_embeddings"},
            "module_input_name is 'token_embeddings': expected 'sentence_embedding'",
        ),
    ],
    ids=str,
)
def test_what_is_refused(folder, file, fields, match):
    change(folder, file, **fields)
    with refused(match):
        load_pretrained(folder)
    # Who puts another head on the encoder is not concerned.
    assert load_pretrained(folder, head="classification", num_labels=3)[0].num_labels == 3


@pytest.mark.parametrize(
    ("modules", "match"),
    [
        (
            lambda x: [*x[:2], module("Dense")],
            "a module is Dense: expected Normalize, for bpjax has",
        ),
        (
            lambda x: [x[0], module("WordWeights", "w"), x[1]],
            "a module is WordWeights: expected Pool",
        ),
        (
            lambda x: [module("CLIPModel", ""), *x[1:]],
            "a module is CLIPModel: expected Transformer",
        ),
        (lambda x: x[:1], "Transformer alone: expected Transformer and Pooling; choose another"),
        (
            lambda x: [*x[:2], {"path": "a", "type": "my.Code"}],
            "'my.Code', code of the model's own",
        ),
    ],
    ids=range(5),
)
def test_other_modules_are_refused(folder, modules, match):
    write(folder, {MODULES: modules(json.loads((folder / MODULES).read_text()))})
    with refused(match):
        load_pretrained(folder)
    assert read_saved_head(folder / "config.json").head is None


def test_modules_that_are_none_are_refused(folder):
    for content in ("{", "{}", "[]", '[{"path": ""}]'):
        (folder / MODULES).write_text(content)
        with refused("modules.json: .*; fetch the file again"):
            load_pretrained(folder)


def test_capital_letters_that_a_tokenizer_keeps(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    change(folder, ENCODER, do_lower_case=True)
    with refused("do_lower_case is True: expected false, for the tokenizer keeps capital letters"):
        load_pretrained(folder)


def test_a_cross_encoder_is_what_its_config_says(tmp_path):
    from small_run import SMALL

    folder = save_model(tmp_path / "model", SMALL.replace(head="regression", num_labels=1))
    write(folder, {MODULES: NEWEST[MODULES][:1], SETTINGS: {"model_type": "CrossEncoder"}})
    assert load_pretrained(folder)[0].head == "regression"


def test_an_encoder_alone_gives_no_embedding(tmp_path, small_model):
    assert load_pretrained(small_model)[0].head == "none"
    with refused("no modules.json: expected a folder of sentence-transformers"):
        load_pretrained(small_model, head="embedding")


def test_another_head_of_the_checkpoint_is_left_aside(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    extra = {"cls.predictions.bias": np.zeros(3, np.float32)}
    save_file(tensors | extra, folder / "model.safetensors")
    assert load_pretrained(folder)[0].head == "embedding"
    extra = {"encoder.layer.0.extra.weight": np.zeros(3, np.float32)}
    save_file(tensors | extra, folder / "model.safetensors")
    with refused("extra.weight has no place in a model of 3 layers with a embedding head"):
        load_pretrained(folder)


def test_what_predict_takes(models):
    model = load_model(models / "mean")
    with refused("row 0 is .*: expected one text; give it so"):
        model.predict([("a", "b")])
    with refused("row 1 is blank"):
        model.predict(["a", " "])
    cut = model.predict(["the sea " * 9], max_length=8)[0]
    assert cut["cut"] and len(cut["embedding"]) == 48


def test_fresh_parameters_have_no_head():
    config, params = embedder()
    assert "head" not in params and "pooler" not in params
    assert random_params(config).keys() == params.keys()
