"""generation_config.json of transformers, in and out: how a saved model writes its texts.

Every field of transformers' GenerationConfig stands in the tables below: those that are read, the
values that are taken of those that would change a text, and those that change nothing. A field that
is in none is unknown to transformers as well, which ignores it.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.models.generation import NEVER, Generation
from bpjax.models.sizes import is_size
from bpjax.models.sources import GENERATION, read_json


class Kind(NamedTuple):
    """What a field may be.

    Attributes:
      expected: in words.
      fits: whether a value of JSON is one.
      ours: that value as `Generation` has it.
    """

    expected: str
    fits: Callable[[Any], bool]
    ours: Callable[[Any], Any] = lambda value: value


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_size(token, 0) for token in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


COUNT = Kind("a whole number", lambda value: is_size(value, 0))
NUMBER = Kind("a number", _is_number)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
TOKEN = Kind("a token's number", lambda value: is_size(value, 0))
TOKENS = Kind("a list of tokens' numbers", _are_tokens, tuple)
ONE_OR_MORE = Kind(
    "a token's number, or a list of them",
    lambda value: is_size(value, 0) or _are_tokens(value),
    lambda value: tuple(value) if isinstance(value, list | tuple) else (value,),
)
WORDS = Kind(
    "a list of lists of tokens' numbers",
    lambda value: isinstance(value, list | tuple) and all(map(_are_tokens, value)),
    lambda value: tuple(map(tuple, value)),
)

READ: dict[str, Kind] = {
    "bad_words_ids": WORDS,
    "begin_suppress_tokens": TOKENS,
    "bos_token_id": TOKEN,
    "decoder_start_token_id": TOKEN,
    "early_stopping": Kind(
        f"true, false or {NEVER!r}", lambda value: isinstance(value, bool) or value == NEVER
    ),
    "encoder_no_repeat_ngram_size": COUNT,
    "eos_token_id": ONE_OR_MORE,
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": ONE_OR_MORE,
    "length_penalty": NUMBER,
    "max_length": COUNT,
    "max_new_tokens": COUNT,
    "min_length": COUNT,
    "min_new_tokens": COUNT,
    "no_repeat_ngram_size": COUNT,
    "num_beams": COUNT,
    "pad_token_id": TOKEN,
    "remove_invalid_values": SWITCH,
    "renormalize_logits": SWITCH,
    "repetition_penalty": NUMBER,
    "suppress_tokens": TOKENS,
}
"""Those that are read: the fields of `Generation`. None is what a file without the field means."""

_NONE_OR_OFF = (None, False)
_NONE_OR_ONE = (None, 1, 1.0)

TAKEN: dict[str, tuple[Any, ...]] = {
    "assistant_early_exit": (None,),
    # All but "quantized" keep numbers as they are.
    "cache_implementation": (
        *(None, "dynamic", "static", "offloaded", "offloaded_static", "sliding_window"),
        *("hybrid", "hybrid_chunked", "offloaded_hybrid", "offloaded_hybrid_chunked"),
    ),
    "constraints": (None,),
    "do_sample": _NONE_OR_OFF,
    "dola_layers": (None,),
    "encoder_repetition_penalty": _NONE_OR_ONE,
    "exponential_decay_length_penalty": (None,),
    "force_words_ids": (None,),
    "guidance_scale": _NONE_OR_ONE,
    "is_assistant": _NONE_OR_OFF,
    "low_memory": _NONE_OR_OFF,
    "max_time": (None,),
    "num_beam_groups": _NONE_OR_ONE,
    "num_return_sequences": _NONE_OR_ONE,
    "penalty_alpha": (None, 0, 0.0),
    "prompt_lookup_num_tokens": (None,),
    "sequence_bias": (None,),
    "stop_strings": (None,),
    "token_healing": _NONE_OR_OFF,
    "use_mtp": _NONE_OR_OFF,
    "watermarking_config": (None,),
}
"""Values of fields that would change a text: any other is refused."""

WITHOUT_EFFECT = (
    # Of sampling.
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
    # Of groups of beams, of which there is one.
    "diversity_penalty",
    # Of a second model that helps.
    *("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
    *("assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight"),
    *("max_matching_ngram_size", "speculation_type"),
    # How it is computed, what else is given back, and what is told of the file.
    *("use_cache", "cache_config", "max_cache_len", "prefill_chunk_size", "compile_config"),
    *("disable_compile", "continuous_batching_config", "output_attentions"),
    *("output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
    *("_from_model_config", "transformers_version"),
)
"""Fields whose values change no text."""

FORCE_BOS = "force_bos_token_to_be_generated"
"""Of old config.json: `forced_bos_token_id` is the `bos_token_id`."""


def read_generation(config_json: Path, vocab_size: int) -> Generation:
    """How a model writes, as transformers reads it: generation_config.json, else config.json.

    Args:
      config_json: of the model. Where there is a generation_config.json beside it, what config.json
        says of generation has no effect.
      vocab_size: tokens of the model.

    Raises:
      UserError: a file that is none, or a field that changes a text in a way that bpjax does not
        have.
    """
    own = config_json.with_name(GENERATION)
    path = own if own.is_file() else config_json
    data = read_json(path)
    if data.get(FORCE_BOS) and (path == config_json or data.get("_from_model_config")):
        data["forced_bos_token_id"] = data.get("bos_token_id")
    if data.get("decoder_start_token_id") is None:
        data["decoder_start_token_id"] = data.get("bos_token_id")
    found = _change(Generation(), data, f"{path}: ")
    try:
        found.require_vocabulary(vocab_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return found


def override(
    settings: Generation, fields: Mapping[str, Any], where: str = "generation."
) -> Generation:
    """The settings with some fields changed by who uses the model.

    A length in tokens goes before one in new tokens that the model was saved with, and the other
    way round.

    Args:
      settings: to begin with.
      fields: by their names in a generation_config.json, values of JSON. None is the default.
      where: what messages begin with.

    Raises:
      UserError: no such field, or a value that bpjax does not have.
    """
    unknown = next((key for key in fields if key not in READ and key not in TAKEN), None)
    if unknown is not None:
        raise UserError(f"{where}{unknown}: expected one of {', '.join(READ)}; choose one")
    pairs = (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens"))
    replaced = {new: None for length, new in pairs if length in fields}
    return _change(settings, {**replaced, **fields}, where)


def _change(settings: Generation, fields: Mapping[str, Any], where: str) -> Generation:
    """The settings with some fields changed; None is what a file without the field means."""
    defaults = {field.name: field.default for field in dataclasses.fields(Generation)}
    changes = {}
    for key in READ.keys() & fields.keys():
        value, kind = fields[key], READ[key]
        if value is not None and not kind.fits(value):
            raise UserError(
                f"{where}{key} is {repr(value)[:80]}: expected {kind.expected}; correct it"
            )
        changes[key] = defaults[key] if value is None else kind.ours(value)
    for key in TAKEN.keys() & fields.keys():
        value, taken = fields[key], TAKEN[key]
        if not any(value == one and type(value) is type(one) for one in taken):
            raise UserError(
                f"{where}{key} is {repr(value)[:80]}: expected {json.dumps(taken[:2][-1])}, for "
                "bpjax writes the best text that greedy or beam search finds; remove it"
            )
    try:
        return settings.replace(**changes)
    except UserError as error:
        raise UserError(f"{where}{error}") from None


def write_generation(folder: Path, settings: Generation) -> None:
    """Writes the generation_config.json that `read_generation` and transformers read.

    Args:
      folder: of the model's config.json.
      settings: of the model.
    """
    data: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            one = READ[field.name] is ONE_OR_MORE and len(value) == 1
            data[field.name] = value[0] if one else value
    (folder / GENERATION).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
