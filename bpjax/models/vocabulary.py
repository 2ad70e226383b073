"""Smaller vocabularies: the tokens that some texts need, and a tokenizer that has them alone.

Texts made of these tokens are cut as before. In another text a word may fall into more pieces, down
to single characters, all of which stay.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import traverse_util
from jaxtyping import Int

from bpjax.errors import UserError
from bpjax.models.architecture import Config
from bpjax.models.layers.quantization import SCALE

if TYPE_CHECKING:
    import transformers

KINDS = ("WordPiece", "WordLevel", "BPE", "Unigram")
"""Types of models of the tokenizers library whose vocabulary can be made smaller."""

WORDS = "embeddings/word/embedding"
"""The table with a row for each token."""


def choose_tokens(
    tokenizer: "transformers.PreTrainedTokenizerFast", used: Int[np.ndarray, " used"]
) -> Int[np.ndarray, " tokens"]:
    """The ids that stay, rising: those used, special and added ones, and all single characters.

    Of a byte pair encoding also what each of them is merged from.

    Args:
      tokenizer: of the model.
      used: ids that occur in texts.

    Raises:
      UserError: a tokenizer of another kind than `KINDS`.
    """
    settings = _settings(tokenizer)
    vocabulary = _vocabulary(settings)
    prefix = settings["model"].get("continuing_subword_prefix") or ""
    kept = set(used.tolist()) | set(map(int, tokenizer.all_special_ids))
    kept |= {each["id"] for each in settings["added_tokens"]}
    kept |= {*_unknown(settings, vocabulary)}
    kept |= {i for token, i in vocabulary.items() if len(token.removeprefix(prefix)) == 1}
    kept |= {i for token, i in vocabulary.items() if token.startswith("<0x")}  # bytes
    if settings["model"]["type"] == "BPE":
        parts = {vocabulary[a + b]: (vocabulary[a], vocabulary[b]) for a, b in _merges(settings)}
        todo = [*kept]
        while todo:
            new = set(parts.get(todo.pop(), ())) - kept
            kept |= new
            todo += new
    return np.array(sorted(kept), np.int64)


def trim_tokenizer(
    tokenizer: "transformers.PreTrainedTokenizerFast", ids: Int[np.ndarray, " tokens"]
) -> "transformers.PreTrainedTokenizerFast":
    """A tokenizer of some of the tokens, numbered anew in their order.

    Args:
      tokenizer: it stays as it is.
      ids: of `choose_tokens`.
    """
    import tokenizers

    places = {int(old): new for new, old in enumerate(ids)}
    settings = _settings(tokenizer)
    model = settings["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [piece for i, piece in enumerate(model["vocab"]) if i in places]
        model["unk_id"] = None if model["unk_id"] is None else places[model["unk_id"]]
    else:
        model["vocab"] = {t: places[i] for t, i in model["vocab"].items() if i in places}
    if model["type"] == "BPE":
        known = model["vocab"]
        model["merges"] = [[a, b] for a, b in _merges(settings) if {a, b, a + b} <= known.keys()]
    for each in settings["added_tokens"]:
        each["id"] = places[each["id"]]
    settings["post_processor"] = _renumber(settings["post_processor"], places)
    settings["truncation"] = settings["padding"] = None  # which are set for each call
    found: Any = copy.deepcopy(tokenizer)
    found._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(settings))
    return found


def trim(
    config: Config, params: dict[str, Any], ids: Int[np.ndarray, " tokens"]
) -> tuple[Any, dict[str, Any]]:
    """A model that has some of the tokens, in their order; its answers about them stay the same.

    Args:
      config: of an encoder, quantised or not.
      params: its parameters.
      ids: of `choose_tokens`.

    Raises:
      UserError: a model whose word embeddings are also its head, or that gives padding a meaning
        which another number would change.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    padding = getattr(config, "padding", None)
    if WORDS not in flat or padding is None:
        raise UserError(
            f"a {config.model_type} model: expected an encoder, whose vocabulary nothing else "
            "reads; keep its tokens"
        )
    if padding >= len(ids) or ids[padding] != padding:
        raise UserError(
            f"token {padding} is padding, and tokens before it would go: expected it to keep its "
            "number, by which positions are counted; keep the vocabulary"
        )
    for name in (WORDS, WORDS + SCALE):
        if name in flat:
            flat[name] = flat[name][ids]
    return config.replace(vocab_size=len(ids)), traverse_util.unflatten_dict(flat, sep="/")


def _settings(tokenizer: "transformers.PreTrainedTokenizerFast") -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = settings["model"]["type"]
    if kind not in KINDS:
        raise UserError(
            f"a tokenizer of the kind {kind}: expected one of {', '.join(KINDS)}; keep its tokens"
        )
    return settings


def _vocabulary(settings: Mapping[str, Any]) -> dict[str, int]:
    found = settings["model"]["vocab"]
    if settings["model"]["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(found)}
    return dict(found)


def _unknown(settings: Mapping[str, Any], vocabulary: Mapping[str, int]) -> Iterator[int]:
    """The token of what has no other, if there is one."""
    model = settings["model"]
    if model.get("unk_token") in vocabulary:
        yield vocabulary[model["unk_token"]]
    if model.get("unk_id") is not None:
        yield model["unk_id"]


def _merges(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in settings["model"]["merges"]:  # older files have them as one text
        first, second = each.split(" ") if isinstance(each, str) else each
        yield first, second


def _renumber(part: Any, places: Mapping[int, int]) -> Any:
    """What puts special tokens around a text, with their new numbers."""
    if isinstance(part, list):
        return [_renumber(each, places) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _renumber(value, places) for name, value in part.items()}
    for name in ("sep", "cls"):  # of BertProcessing and RobertaProcessing: a token and its number
        if name in found and isinstance(found[name], list):
            token, number = found[name]
            found[name] = [token, places[number]]
    if "ids" in found:  # of a template's special tokens
        found["ids"] = [places[number] for number in found["ids"]]
    return found
