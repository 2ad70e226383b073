"""Writes the tokenizer of the tests' small models: python tests/data/make_tokenizer.py.

A WordPiece vocabulary of the embedded task's own words, each a token, and of single letters and
digits, of which any other word is made. The files it writes are kept in the repository, so that
tests need no package with a real model's tokenizer.
"""

import json
import pathlib
import string

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bpjax.tasks.embedded import Embedded

FOLDER = pathlib.Path(__file__).with_name("tokenizer")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NORMALIZER = normalizers.BertNormalizer(lowercase=True)
PRE_TOKENIZER = pre_tokenizers.BertPreTokenizer()


def words():
    """The words of the embedded task's questions and passages, in alphabetical order."""
    task, found = Embedded(), set()
    for split in ("train", "validation"):
        for example in task.examples(split):
            for text in (example.context, example.question):
                pieces = PRE_TOKENIZER.pre_tokenize_str(NORMALIZER.normalize_str(text))
                found.update(word for word, _ in pieces)
    return sorted(found)


def vocabulary():
    """Tokens, in the order of their ids."""
    characters = string.ascii_lowercase + string.digits
    continued = [f"##{character}" for character in characters]
    # Without words twice: some letters, digits and marks are words of the task.
    return list(dict.fromkeys([*SPECIAL, *characters, *string.punctuation, *continued, *words()]))


def main():
    ids = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = NORMALIZER
    tokenizer.pre_tokenizer = PRE_TOKENIZER
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    FOLDER.mkdir(exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    (FOLDER / "vocab.txt").write_text("".join(f"{token}\n" for token in ids))
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config | names, indent=2) + "\n")


if __name__ == "__main__":
    main()
