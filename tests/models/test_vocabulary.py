"""Smaller vocabularies: what they cut texts into, and what models then say."""

import json

import numpy as np
import pytest
import small_run
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

import bpjax
from bpjax.errors import UserError
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.vocabulary import choose_tokens, trim, trim_tokenizer

TEXTS = ["the old mill stands in the village .", "where is the mill ?", "mills and villagers"]
OTHERS = ["thousands of standing stones", "who is in ?"]
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def make_tokenizer(kind):
    """One that is trained on a few texts, with what puts special tokens around a text."""
    kinds = {
        "WordPiece": (models.WordPiece(unk_token="<unk>"), WordPieceTrainer),
        "BPE": (models.BPE(), BpeTrainer),
        "Unigram": (models.Unigram(), UnigramTrainer),
    }
    model, trainer = kinds[kind]
    found = tokenizers.Tokenizer(model)
    found.pre_tokenizer = (
        pre_tokenizers.ByteLevel() if kind == "BPE" else pre_tokenizers.Whitespace()
    )
    options = {"unk_token": "<unk>"} if kind == "Unigram" else {}
    if kind == "BPE":
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    made = trainer(vocab_size=420, special_tokens=SPECIAL, show_progress=False, **options)
    found.train_from_iterator((TEXTS + OTHERS) * 5, made)
    ids = {token: found.token_to_id(token) for token in SPECIAL}
    found.post_processor = {
        "WordPiece": processors.BertProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"])),
        "BPE": processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"])),
        "Unigram": processors.TemplateProcessing(
            "<s> $A </s>", "<s> $A </s> $B </s>", [(t, ids[t]) for t in ("<s>", "</s>")]
        ),
    }[kind]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=found,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_texts_are_cut_as_before_and_others_into_known_pieces(kind, tmp_path):
    tokenizer = make_tokenizer(kind)
    before = tokenizer(TEXTS)["input_ids"]
    ids = choose_tokens(tokenizer, np.unique(np.concatenate(before)))
    assert len(ids) < len(tokenizer)
    small = trim_tokenizer(tokenizer, ids)
    small.save_pretrained(tmp_path)
    for found in (small, transformers.AutoTokenizer.from_pretrained(tmp_path)):
        assert len(found) == len(ids)
        after = found(TEXTS)["input_ids"]
        assert [[int(ids[x]) for x in row] for row in after] == before
        assert found(TEXTS[0], TEXTS[1])["input_ids"] != after[0]
        for token in SPECIAL:
            assert ids[found.convert_tokens_to_ids(token)] == tokenizer.convert_tokens_to_ids(token)
        # Other texts lose no character.
        others = found(OTHERS)["input_ids"]
        assert max(map(max, others)) < len(ids)
        assert found.unk_token_id not in others[1]
    assert len(tokenizer(TEXTS)["input_ids"][0]) == len(before[0])  # it stays as it is


@pytest.fixture
def folder(tmp_path):
    return small_run.save_model(
        tmp_path / "model", small_run.SMALL.replace(head="classification", num_labels=2)
    )


@pytest.mark.parametrize("quantized", [False, True])
def test_a_model_says_the_same_of_the_texts(folder, tmp_path, quantized):
    (folder / "README.md").write_text("# A model\n")
    model = bpjax.load(folder)
    model = bpjax.quantize(model) if quantized else model
    small = bpjax.trim(model, TEXTS, tmp_path / "small")
    assert small.config.vocab_size < 0.5 * model.config.vocab_size
    assert small.predict(TEXTS) == model.predict(TEXTS)
    assert len(small.predict(OTHERS)) == 2
    told = (tmp_path / "small" / "README.md").read_text()
    assert told.startswith("# A model\n") and f"{small.config.vocab_size:,} of" in told
    # Trimmed again, to the same texts, nothing is left to remove.
    assert bpjax.trim(small, TEXTS, tmp_path / "again").config == small.config


def test_the_command(folder, tmp_path, capsys):
    from bpjax.cli import main

    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    with pytest.raises(SystemExit) as end:
        main(["trim", str(folder), str(path), f"--output={tmp_path / 'small'}", "--json"])
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens"] == load_pretrained(tmp_path / "small")[0].vocab_size < told["of"]


def test_what_cannot_be_trimmed(folder, tmp_path):
    model = bpjax.load(folder)
    with pytest.raises(UserError, match="no texts"):
        bpjax.trim(model, [], tmp_path / "small")
    with pytest.raises(UserError, match="token 0 is padding, and tokens before it would go"):
        trim(model.config, model.params, np.array([1, 2]))
    config = model.config.replace(pad_token_id=7)
    with pytest.raises(UserError, match="expected it to keep its number"):
        trim(config, model.params, np.array([0, 7, 9]))
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, "<unk>"))
    )
    assert choose_tokens(words, np.array([], int)).tolist() == [0, 1]
    assert not (tmp_path / "small").exists()
