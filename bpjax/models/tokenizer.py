"""Tokenizers, and whether one belongs to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpjax.errors import UserError
from bpjax.models.architecture import Config
from bpjax.models.sources import CONFIG, find_folder, one_line

if TYPE_CHECKING:
    import transformers

# Embeddings are often padded to a multiple of 128; more spare rows mean another vocabulary.
_SPARE_ROWS = 128

_VOCABULARIES = {"tokenizer.json", "vocab.txt"}


def load_tokenizer(source: str | Path) -> "transformers.PreTrainedTokenizerFast":
    """Loads a fast tokenizer from the same kinds of source as `load_pretrained`.

    Raises:
      UserError: no tokenizer files there, or unreadable ones.
    """
    import transformers  # slow to import, and not needed to run a model

    folder = find_folder(source)
    present = {path.name for path in folder.iterdir()}
    if not present & _VOCABULARIES:
        raise UserError(
            f"{folder}: no tokenizer: expected tokenizer.json or vocab.txt; copy the files of the "
            "model's tokenizer there"
        )
    # A bare vocab.txt does not say whose it is; BERT's is the only kind we take without being told.
    told = present & {"tokenizer_config.json", CONFIG}
    kind: Any = transformers.AutoTokenizer if told else transformers.BertTokenizer
    try:
        return kind.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions for bad files
        raise UserError(
            f"{folder}: the tokenizer cannot be read ({one_line(error)}); fetch its files again"
        ) from error


def check_vocabulary(tokenizer: "transformers.PreTrainedTokenizerBase", config: Config) -> None:
    """Checks that a tokenizer's ids are rows of the word embeddings.

    Raises:
      UserError: an id beyond the embeddings; or 128 and more embeddings without a token, which is
        more than padding and means that the two belong to different models.
    """
    size = max(tokenizer.get_vocab().values(), default=-1) + 1
    if not size <= config.vocab_size < size + _SPARE_ROWS:
        raise UserError(
            f"the tokenizer has {size} tokens, the model {config.vocab_size} word embeddings: "
            "expected a vocabulary that fits; use the tokenizer that came with the model"
        )


def check_same_vocabulary(
    tokenizer: "transformers.PreTrainedTokenizerBase", source: str | Path
) -> None:
    """Checks that a model which is given a tokenizer's ids has learnt them as the same tokens.

    A folder without tokenizer files is taken at its word.

    Raises:
      UserError: its own tokenizer has other tokens, or other ids for them.
    """
    if not any((find_folder(source) / name).exists() for name in _VOCABULARIES):
        return
    ours, theirs = (x.get_vocab() for x in (tokenizer, load_tokenizer(source)))
    for token in sorted(ours.keys() | theirs.keys()):
        if ours.get(token) != theirs.get(token):
            raise UserError(
                f"{source} has another vocabulary: {token!r} is {theirs.get(token)} there and "
                f"{ours.get(token)} in the model's; choose one made from the same vocabulary"
            )
