"""Tokenizers: tokenizer.json to the letter, casing told or seen, and a row for each token."""

import json

import pytest
import transformers
from checkpoints import DENSE, random_params, refused, saved
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from bpjax.models.checkpoint import save_pretrained
from bpjax.models.tokenizer import check_rows, load_tokenizer

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("The", "the", "Dog", "dog", "runs", ".", "café", "cafe", "runs.", "caf", "##é"),
]
TEXT = "The Dog runs. café", "dog"


def write(folder, normalizer, splitter, pair="[CLS] $A [SEP] $B:1 [SEP]:1", **options):
    """A tokenizer.json, with a class beside it that would make another of the vocabulary."""
    places = {word: i for i, word in enumerate(WORDS)}
    made = Tokenizer(models.WordPiece(places, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_tokens(["harbour"])
    made.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "BertTokenizer", **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return made


@pytest.mark.parametrize(
    ("normalizer", "splitter", "pair"),
    [
        (normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer(), None),
        (normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer(), None),
        (normalizers.BertNormalizer(), pre_tokenizers.WhitespaceSplit(), None),
        (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), "[CLS] $A $B:1 [SEP]:1"),
    ],
    ids=["cased", "accents kept", "splitter", "template"],
)
def test_tokenizer_json_is_taken_to_the_letter(tmp_path, normalizer, splitter, pair):
    source, copied = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    made = write(source, normalizer, splitter, **({"pair": pair} if pair else {}))
    saved(copied)  # a model, for its config.json
    save_pretrained(copied, DENSE, random_params(DENSE), source, overwrite=True)
    load_tokenizer(source).save_pretrained(copied / "again")
    wanted = made.encode(*TEXT)
    for folder in (source, copied, copied / "again"):
        found = load_tokenizer(folder)
        assert found(*TEXT)["input_ids"] == wanted.ids
        assert found(*TEXT, return_token_type_ids=True)["token_type_ids"] == wanted.type_ids
        assert found.pad_token_id == 0 and "token_type_ids" in found.model_input_names
    # Elsewhere too.
    theirs = transformers.AutoTokenizer.from_pretrained(copied)
    assert theirs(*TEXT)["input_ids"] == wanted.ids


def vocabulary(folder, words, **told):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    if told:
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("words", "told", "tokens"),
    [
        (WORDS, {}, ["The", "Dog"]),
        (WORDS, {"tokenizer_class": "BertTokenizer"}, ["The", "Dog"]),
        (WORDS, {"do_lower_case": True}, ["the", "dog"]),
        ([w for w in WORDS if w[0] == "[" or w == w.lower()], {}, ["the", "dog"]),
        (
            [w for w in WORDS if w[0] == "[" or w == w.lower()],
            {"do_lower_case": False},
            ["[UNK]"] * 2,
        ),
    ],
)
def test_a_vocabulary_with_capitals_is_not_lower_cased(tmp_path, words, told, tokens):
    folder = vocabulary(tmp_path / "a", words, **told)
    assert load_tokenizer(folder).tokenize("The Dog") == tokens
    save_pretrained(tmp_path / "b", DENSE, random_params(DENSE), folder)
    assert load_tokenizer(tmp_path / "b").tokenize("The Dog") == tokens
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    assert theirs.tokenize("The Dog") == tokens


def test_a_token_without_a_row_is_refused(tmp_path):
    folder = vocabulary(tmp_path, WORDS)
    check_rows(folder, DENSE)
    with refused(f"the tokenizer has {len(WORDS)} tokens, the model 15 word embeddings"):
        check_rows(folder, DENSE.replace(vocab_size=15))
