"""How a model writes a text: which tokens begin and end it, and how the best one is sought."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PyTree

NEVER = "never"
"""Of `early_stopping`: only when no better text can follow, for any length."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """The fields of a generation_config.json of transformers that change a text.

    Lengths count all tokens of the decoder, the one that it starts with among them.

    Attributes:
      decoder_start_token_id: the token that a decoder starts with.
      eos_token_id: tokens any of which ends a text.
      pad_token_id: what follows the end.
      num_beams: texts that are gone on with at each step; 1 takes the likeliest token.
      max_length: tokens at most.
      min_length: tokens before the text may end.
      length_penalty: a finished text counts by the sum of its tokens' log probabilities over its
        length to this power, so that more favours longer ones.
      early_stopping: stop a row when as many texts as beams are finished (True); when none that
        goes on is better by its present length than the worst finished (False); or `NEVER`.
      no_repeat_ngram_size: no text has the same so many tokens in a row twice; 0: it may.
      forced_bos_token_id: the first token after the start.
      forced_eos_token_id: tokens that may be the last of a text of the greatest length.
    """

    decoder_start_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    num_beams: int = 1
    max_length: int = 20
    min_length: int = 0
    length_penalty: float | int = 1.0
    early_stopping: bool | str = False
    no_repeat_ngram_size: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()

    def replace(self, **changes: Any) -> "Generation":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Cache(NamedTuple):
    """What a decoder keeps between tokens: keys and values of its attentions.

    Attributes:
      own: arrays `[rows, …]`, of the tokens that were written: each beam has its own.
      shared: arrays `[sources, …]`, of what was read: the beams of a source share them.
    """

    own: PyTree
    shared: PyTree


class Decoder(NamedTuple):
    """How a model of an architecture writes, a token at a time.

    `variables` are those of the module: `params`, and perhaps `masks`. A batch is of sources.

    Attributes:
      settings: (config): what the model was saved with.
      prompt: (config, batch): the tokens `[sources, n]` that a text starts with.
      start: (config, variables, batch, length): a cache for texts of up to `length` tokens, which
        has read the source, and all of the prompt but its last token; its `own` arrays have a row a
        source.
      step: (config, variables, tokens `[sources, beams]`, position, cache): logits of what follows,
        `[sources, beams, vocabulary]` in float32 at least, and the cache with these tokens in it,
        whose number in their texts, from 0, is `position`, traced. The rows of `own` are those of
        `tokens`, one source after the other.
    """

    settings: Callable[[Any], Generation]
    prompt: Callable[[Any, Any], Int[Array, "sources n"]]
    start: Callable[[Any, dict, Any, int], Cache]
    step: Callable[
        [Any, dict, Int[Array, "sources beams"], Int[Array, ""], Cache],
        tuple[Float[Array, "sources beams vocabulary"], Cache],
    ]
