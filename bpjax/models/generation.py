"""How a model writes a text: which tokens begin and end it, and how the best one is sought."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PyTree

from bpjax.errors import UserError

NEVER = "never"
"""Of `early_stopping`: only when no better text can follow, for any length."""

NEW_TOKENS = 20
"""That are written at most where the settings do not say how many."""

POWERS = 8.0
"""`length_penalty` at most, so that a length to this power is a float32."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """The fields of a generation_config.json of transformers that change a text.

    Lengths count all tokens of the decoder, the prompt among them; fields of "new tokens" leave the
    prompt out, and go before those of lengths.

    Attributes:
      decoder_start_token_id: the token that the decoder of an encoder-decoder starts with.
      bos_token_id: what that is where a file does not say it.
      eos_token_id: tokens any of which ends a text.
      pad_token_id: what follows the end; by default the first that ends a text.
      num_beams: texts that are gone on with at each step; 1 takes the likeliest token.
      max_length: tokens at most.
      max_new_tokens: the same; where neither is given `NEW_TOKENS`, and no more than there are
        positions.
      min_length: tokens before the text may end.
      min_new_tokens: the same.
      length_penalty: a finished text counts by the sum of its tokens' log probabilities over the
        number of new tokens to this power, so that more favours longer ones.
      early_stopping: stop a row when as many texts as beams are finished (True); when none that
        goes on is better by its present length than the worst finished (False); or `NEVER`.
      no_repeat_ngram_size: no text has the same so many tokens in a row twice; 0: it may.
      encoder_no_repeat_ngram_size: no text has so many tokens in a row that were read; 0: it may.
      repetition_penalty: scores of tokens that are in the text already are divided by it, negative
        ones multiplied.
      bad_words_ids: tokens in a row that no text has.
      suppress_tokens: tokens that no text has.
      begin_suppress_tokens: tokens that no text begins with.
      forced_bos_token_id: the second token of a text whose prompt is one token.
      forced_eos_token_id: tokens that may be the last of a text of the greatest length.
      renormalize_logits: what the settings above change is brought to probabilities again.
      remove_invalid_values: scores that are infinite or no number become finite.

    Raises:
      UserError: a value out of range, or a least length above the greatest.
    """

    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    num_beams: int = 1
    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    length_penalty: float | int = 1.0
    early_stopping: bool | str = False
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    repetition_penalty: float | int = 1.0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    renormalize_logits: bool = False
    remove_invalid_values: bool = False

    def __post_init__(self) -> None:
        least = {"num_beams": 1, "max_length": 1, "max_new_tokens": 1, "min_length": 0}
        least |= {"min_new_tokens": 0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0}
        for name, smallest in least.items():
            found = getattr(self, name)
            if found is not None and found < smallest:
                raise UserError(f"{name} {found}: expected at least {smallest}; raise it")
        for name, token in self._tokens():
            if token < 0:
                raise UserError(f"{name} {token}: expected a token's number, 0 at least; change it")
        if not abs(self.length_penalty) <= POWERS:
            raise UserError(
                f"length_penalty {self.length_penalty}: expected a number from {-POWERS:g} to "
                f"{POWERS:g}; change it"
            )
        if not 0 < self.repetition_penalty < math.inf:
            raise UserError(
                f"repetition_penalty {self.repetition_penalty}: expected a number above 0, 1 for "
                "none; change it"
            )
        if isinstance(self.early_stopping, str) and self.early_stopping != NEVER:
            raise UserError(
                f"early_stopping {self.early_stopping!r}: expected true, false or {NEVER!r}; "
                "change it"
            )
        if () in self.bad_words_ids:
            raise UserError("bad_words_ids has a word of no tokens: expected one; remove it")
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            forced = {token for key, token in self._tokens() if key == name}
            if forced and forced <= {*self.suppress_tokens}:
                raise UserError(
                    f"{name} {sorted(forced)}: expected a token that is not in suppress_tokens; "
                    "remove it from one of the two"
                )
        # What new tokens make of it, `lengths` knows.
        if self.max_length and not (self.max_new_tokens or self.min_new_tokens):
            self._require_room(self.min_length, self.max_length)

    def replace(self, **changes: Any) -> "Generation":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def fill(self) -> int:
        """What follows the end of a text; texts that nothing ends have all their tokens."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return next(iter(self.eos_token_id), 0)

    def lengths(self, prompt: int, positions: int) -> tuple[int, int]:
        """Tokens of a text before it may end, and at most.

        Args:
          prompt: tokens that it starts with.
          positions: tokens in a row that the model takes.

        Raises:
          UserError: no room for a token, more tokens than there are positions, or fewer at most
            than at least.
        """
        if self.max_new_tokens is not None:
            name, longest = "max_new_tokens", prompt + self.max_new_tokens
        elif self.max_length is not None:
            name, longest = "max_length", self.max_length
        else:
            name, longest = "max_length", min(prompt + NEW_TOKENS, positions)
        shortest = self.min_length if self.min_new_tokens is None else prompt + self.min_new_tokens
        if longest <= prompt:
            raise UserError(
                f"{name} {getattr(self, name) or longest}: expected more than {prompt}, the tokens "
                "that a text starts with; raise it"
            )
        if longest > positions:
            raise UserError(
                f"{name} {getattr(self, name)}: expected at most "
                f"{positions - (longest - getattr(self, name))}, for the model has {positions} "
                "positions; lower it"
            )
        self._require_room(shortest, longest)
        return shortest, longest

    def require_vocabulary(self, size: int) -> None:
        """Refuses settings of another vocabulary.

        Args:
          size: tokens of the model's.

        Raises:
          UserError: a token that is not below it.
        """
        for name, token in self._tokens():
            if token >= size:
                raise UserError(
                    f"{name} {token}: expected a token below {size}, the model's vocab_size; "
                    "change it"
                )

    def _require_room(self, shortest: int, longest: int) -> None:
        if shortest > longest:
            name = "min_length" if self.min_new_tokens is None else "min_new_tokens"
            raise UserError(
                f"{name} {getattr(self, name)}: expected a text of at most {longest} tokens, as "
                "max_length or max_new_tokens says; lower it, or raise that"
            )

    def _tokens(self) -> Iterator[tuple[str, int]]:
        """All tokens that the settings name, each with the field's name."""
        for field in dataclasses.fields(self):
            if field.name in TOKEN_FIELDS:
                found = getattr(self, field.name)
                for each in found if isinstance(found, tuple) else (found,):
                    for token in each if isinstance(each, tuple) else (each,):
                        if token is not None:
                            yield field.name, token


TOKEN_FIELDS = frozenset(
    {
        *(f"{name}_token_id" for name in ("bos", "decoder_start", "eos", "pad")),
        *("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids"),
        *("suppress_tokens", "begin_suppress_tokens"),
    }
)
"""The settings that are tokens."""


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
