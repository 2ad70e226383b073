"""Tokenizers, and whether one belongs to a model."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpjax.errors import UserError
from bpjax.models.architecture import Config
from bpjax.models.sources import CONFIG, TOKENIZER_FILES, find_folder, one_line, read_json

if TYPE_CHECKING:
    import transformers

# Embeddings are often padded to a multiple of 128; more spare rows mean another vocabulary.
_SPARE_ROWS = 128

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"

_VOCABULARIES = ({TOKENIZER}, {"vocab.txt"}, {"vocab.json", "merges.txt"})
"""Files any of which are enough."""


def load_tokenizer(source: str | Path) -> "transformers.PreTrainedTokenizerFast":
    """Loads a fast tokenizer from the same kinds of source as `load_pretrained`.

    A tokenizer.json is taken as it stands, whatever the class that is named beside it would make of
    the vocabulary. Where there is a vocab.txt alone and nobody says whether it is lower-cased, one
    with capital letters is not.

    Raises:
      UserError: no tokenizer files there, or unreadable ones.
    """
    folder = find_folder(source)
    if not has_tokenizer(folder):
        raise UserError(
            f"{folder}: no tokenizer: expected tokenizer.json or vocab.txt; copy the files of the "
            "model's tokenizer there"
        )
    return _read(folder)[0]


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the files of a tokenizer, so that transformers reads them as bpjax does.

    Args:
      source: a folder, whether it has a tokenizer or not.
      folder: to copy to.

    Raises:
      UserError: files that cannot be read.
    """
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if has_tokenizer(source):
        tokenizer, other = _read(source)
        if other:
            tokenizer.save_pretrained(folder)


def _read(folder: Path) -> "tuple[transformers.PreTrainedTokenizerFast, bool]":
    """The tokenizer, and whether transformers alone would make another one of the folder."""
    import tokenizers
    import transformers  # slow to import, and not needed to run a model

    # A bare vocab.txt does not say whose it is; BERT's is the only kind we take without being told.
    told = (folder / TOKENIZER_CONFIG).exists() or (folder / CONFIG).exists()
    kind: Any = transformers.AutoTokenizer if told else transformers.BertTokenizer
    try:
        casing = _casing(folder)
        found = kind.from_pretrained(folder, trust_remote_code=False, **casing)
        if not (folder / TOKENIZER).exists():
            return found, bool(casing)
        written = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
        if _pipeline(written) == _pipeline(found.backend_tokenizer):
            return found, False
        names = {name: token for name, token in found.special_tokens_map.items() if str(token)}
        exact = transformers.PreTrainedTokenizerFast.from_pretrained(
            folder, model_input_names=[*found.model_input_names], **names
        )
        return exact, True
    except Exception as error:  # the tokenizers library raises bare Exceptions for bad files
        raise UserError(
            f"{folder}: the tokenizer cannot be read ({one_line(error)}); fetch its files again"
        ) from error


def _pipeline(tokenizer: Any) -> dict[str, Any]:
    """All that says how a text is cut, but for the length."""
    settings = json.loads(tokenizer.to_str())
    return {name: x for name, x in settings.items() if name not in ("truncation", "padding")}


def _casing(folder: Path) -> dict[str, bool]:
    """What a vocab.txt says of letters, where there is no other word on it."""
    vocabulary, config = folder / "vocab.txt", folder / TOKENIZER_CONFIG
    if (folder / TOKENIZER).exists() or not vocabulary.exists():
        return {}
    if config.exists() and "do_lower_case" in read_json(config):
        return {}
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    cased = any(token != token.lower() for token in tokens if not token.startswith("["))
    return {"do_lower_case": False} if cased else {}


def check_vocabulary(tokenizer: "transformers.PreTrainedTokenizerBase", config: Config) -> None:
    """Checks that a tokenizer's ids are rows of the word embeddings.

    Raises:
      UserError: an id beyond the embeddings; or 128 and more embeddings without a token, which is
        more than padding and means that the two belong to different models.
    """
    size = _rows_wanted(tokenizer)
    if not size <= config.vocab_size < size + _SPARE_ROWS:
        raise UserError(
            f"the tokenizer has {size} tokens, the model {config.vocab_size} word embeddings: "
            "expected a vocabulary that fits; use the tokenizer that came with the model"
        )


def check_rows(source: str | Path, config: Config) -> None:
    """Checks that a model has a row of embeddings for each token of the tokenizer beside it.

    Raises:
      UserError: it has not.
    """
    if has_tokenizer(find_folder(source)):
        size = _rows_wanted(load_tokenizer(source))
        if size > config.vocab_size:
            raise UserError(
                f"{source}: the tokenizer has {size} tokens, the model {config.vocab_size} word "
                "embeddings: expected a row for each token; use the tokenizer that came with the "
                "model"
            )


def _rows_wanted(tokenizer: "transformers.PreTrainedTokenizerBase") -> int:
    """Rows of embeddings that have one for each id, be there gaps between them or not."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def has_tokenizer(folder: Path) -> bool:
    """Whether there are files of a tokenizer in a folder."""
    present = {path.name for path in folder.iterdir()}
    return any(names <= present for names in _VOCABULARIES)


def check_same_vocabulary(
    tokenizer: "transformers.PreTrainedTokenizerBase", source: str | Path
) -> None:
    """Checks that a model which is given a tokenizer's ids has learnt them as the same tokens.

    A folder without tokenizer files is taken at its word.

    Raises:
      UserError: its own tokenizer has other tokens, or other ids for them.
    """
    if not has_tokenizer(find_folder(source)):
        return
    ours, theirs = (x.get_vocab() for x in (tokenizer, load_tokenizer(source)))
    for token in sorted(ours.keys() | theirs.keys()):
        if ours.get(token) != theirs.get(token):
            raise UserError(
                f"{source} has another vocabulary: {token!r} is {theirs.get(token)} there and "
                f"{ours.get(token)} in the model's; choose one made from the same vocabulary"
            )
