"""Model folders: broken ones refused, saving that spares what is there, the tokenizer in them."""

import shutil

import numpy as np
import pytest
from checkpoints import (
    DENSE,
    RAGGED,
    assert_same,
    change_json,
    random_params,
    refused,
    rewrite,
    saved,
)

from bpjax.models import checkpoint
from bpjax.models import tokenizer as tokenizers
from bpjax.models.checkpoint import load_pretrained, save_pretrained

# Broken checkpoints


def cut(folder, name, keep):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * keep)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: cut(d, "model.safetensors", 0.9), "not a whole safetensors file"),
        (lambda d: cut(d, "model.safetensors", 0.01), "not a whole safetensors file"),
        (lambda d: cut(d, "model.safetensors", 0), "not a whole safetensors file"),
        (lambda d: cut(d, "config.json", 0.5), "config.json: not JSON"),
        (lambda d: (d / "config.json").write_text("[]"), "expected a JSON object"),
        (lambda d: (d / "config.json").unlink(), "config.json: cannot be read"),
        (lambda d: (d / "model.safetensors").unlink(), "no model.safetensors"),
        (
            lambda d: rewrite(d, lambda ts: {k: v for k, v in ts.items() if "0.output.d" not in k}),
            r"encoder.layer.0.output.dense.weight is missing: expected shape \[12, 10\]",
        ),
        (
            lambda d: rewrite(d, lambda ts: {k: np.ones(v.shape, "int8") for k, v in ts.items()}),
            "holds I8",
        ),
        (
            lambda d: change_json(d, vocab_size=41),
            r"has shape \[40, 12\]: expected shape \[41, 12\]",
        ),
        (lambda d: change_json(d, num_hidden_layers=3), "encoder.layer.2.* is missing"),
        (lambda d: change_json(d, num_hidden_layers=1), "encoder.layer.1.* has no place"),
        (
            lambda d: change_json(d, model_type="gpt2"),
            "model_type is 'gpt2': expected one of bert, ",
        ),
        (lambda d: change_json(d, model_type=None), "model_type is None: expected one of bert, r"),
        (
            lambda d: change_json(d, hidden_act="tanh"),
            "hidden_act is 'tanh': expected one of gelu, gelu_new, relu, silu, swish",
        ),
        (
            lambda d: change_json(d, position_embedding_type="relative_key"),
            "position_embedding_type is 'relative_key': expected 'absolute'",
        ),
        (lambda d: change_json(d, is_decoder=True), "is_decoder is True"),
        (lambda d: change_json(d, hidden_size="12"), "hidden_size is '12': expected a whole"),
        (lambda d: change_json(d, num_attention_heads=5), "num_attention_heads is 5"),
        (lambda d: change_json(d, hidden_dropout_prob=1.5), "hidden_dropout_prob is 1.5"),
        (
            lambda d: change_json(d, bpjax={"heads": [3], "intermediate": [1, 2], "head_dim": 4}),
            r"bpjax.heads is \[3\]: expected 2",
        ),
        (lambda d: change_json(d, bpjax=3), "bpjax is 3"),
        (
            lambda d: change_json(
                d, bpjax={"heads": [3, 3], "intermediate": [1, 2], "head_dim": 4, "norm": "rms"}
            ),
            "norm 'rms': expected one of layer, affine",
        ),
    ],
)
def test_broken_checkpoint_is_refused(tmp_path, damage, message):
    saved(tmp_path)
    damage(tmp_path)
    with refused(message):
        load_pretrained(tmp_path)


def test_unknown_head_is_refused(tmp_path):
    with refused("head 'tail': expected one of none, span"):
        load_pretrained(tmp_path, head="tail")


# Saving


def test_saving_spares_what_is_there(tmp_path):
    params = random_params(DENSE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for overwrite in (False, True):  # no flag makes a folder without a model ours
        with refused("is not empty"):
            save_pretrained(tmp_path / "mine", DENSE, params, overwrite=overwrite)
    with refused("is a file"):
        save_pretrained(tmp_path / "mine" / "notes.txt", DENSE, params)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_saving_again_needs_the_flag(tmp_path):
    folder = tmp_path / "deep" / "model"
    saved(folder, seed=1)
    other = random_params(DENSE, seed=2)
    with refused("is not empty"):
        save_pretrained(folder, DENSE, other)
    save_pretrained(folder, DENSE, other, overwrite=True)
    assert_same(load_pretrained(folder)[1], other)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_interrupted_saving_leaves_the_old_model(tmp_path, monkeypatch):
    params = saved(tmp_path / "model")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with refused("cannot be written .No space left"):
        save_pretrained(tmp_path / "model", DENSE, random_params(DENSE, 1), overwrite=True)
    assert_same(load_pretrained(tmp_path / "model")[1], params)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    with refused("cannot be written"):
        save_pretrained(tmp_path / "model" / "config.json" / "inside", DENSE, params)


def test_params_of_another_config_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="do not fit the config"):
        save_pretrained(tmp_path / "a", RAGGED, random_params(DENSE))
    with pytest.raises(ValueError, match="layer_1/ffn/in/kernel has shape"):
        config = DENSE.replace(intermediate=(10, 9))
        save_pretrained(tmp_path / "a", config, random_params(DENSE))
    assert not (tmp_path / "a").exists()


# Tokenizers


TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "##b"]


@pytest.mark.parametrize("by_object", [False, True])
def test_tokenizer_travels_with_the_model(tmp_path, by_object):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "vocab.txt").write_text("\n".join(TOKENS))
    saved = tokenizers.load_tokenizer(tmp_path / "tokens")
    given = saved if by_object else tmp_path / "tokens"
    save_pretrained(tmp_path / "model", RAGGED, random_params(RAGGED), given)
    loaded = tokenizers.load_tokenizer(tmp_path / "model")
    assert loaded("A ba", "c z") == saved("A ba", "c z")
    assert loaded("A ba")["input_ids"] == [2, 5, 6, 13, 3]
    tokenizers.check_vocabulary(loaded, RAGGED)


def test_shrunken_folder_keeps_minilms_tokenizer(tmp_path, minilm_dir):
    config = RAGGED.replace(vocab_size=30522)
    save_pretrained(tmp_path / "model", config, random_params(config), minilm_dir)
    assert (tmp_path / "model" / "vocab.txt").read_bytes() == (
        minilm_dir / "vocab.txt"
    ).read_bytes()
    tokenizer = tokenizers.load_tokenizer(tmp_path / "model")
    tokenizers.check_vocabulary(tokenizer, config)
    assert tokenizer("hello")["input_ids"] == [101, 7592, 102]


@pytest.mark.parametrize("vocab_size", [len(TOKENS) - 1, len(TOKENS) + 128])
def test_vocabulary_must_fit_the_embeddings(tmp_path, vocab_size):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS))
    tokenizer = tokenizers.load_tokenizer(tmp_path)
    with refused(f"has {len(TOKENS)} tokens, the model {vocab_size} word embeddings"):
        tokenizers.check_vocabulary(tokenizer, DENSE.replace(vocab_size=vocab_size))


def test_unreadable_tokenizer_is_refused(tmp_path):
    saved(tmp_path)
    with refused("no tokenizer"):
        tokenizers.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3')
    with refused("the tokenizer cannot be read"):
        tokenizers.load_tokenizer(tmp_path)
    shutil.rmtree(tmp_path)
    with refused("no such folder"):
        tokenizers.load_tokenizer(tmp_path)
