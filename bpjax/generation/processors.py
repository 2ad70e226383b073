"""What settings change of the scores of the next token, in the order that transformers does.

A processor is a pure function of the tokens so far and their scores. Shapes are static: of the
tokens those before `length` are written, the rest is anything.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bpjax.models.generation import Generation

Processor = Callable[
    [Int[Array, "rows max_length"], Int[Array, ""], Float[Array, "rows vocabulary"]],
    Float[Array, "rows vocabulary"],
]
"""(tokens, length, scores): the scores of what follows the first `length` tokens of each row."""


class Frame(NamedTuple):
    """What the texts of a batch have in common.

    Attributes:
      prompt: tokens that a text starts with.
      shortest: tokens before it may end.
      longest: tokens at most.
      vocabulary: tokens that there are.
      source: what each row has read, padded, and which of it is real; None where that is no text.
    """

    prompt: int
    shortest: int
    longest: int
    vocabulary: int
    source: tuple[Int[Array, "rows length"], Bool[Array, "rows length"]] | None = None


def processors(settings: Generation, frame: Frame) -> list[Processor]:
    """Those that the settings ask for, in transformers' order (`_get_logits_processor`)."""
    found: list[Processor] = []
    size = frame.vocabulary
    if settings.repetition_penalty != 1:
        found.append(_repetition(float(settings.repetition_penalty)))
    # What is longer than the texts is never in one.
    if 0 < settings.no_repeat_ngram_size <= frame.longest:
        found.append(_no_repeat(settings.no_repeat_ngram_size))
    if 0 < settings.encoder_no_repeat_ngram_size <= frame.longest and frame.source is not None:
        found.append(_no_repeat_of_source(settings.encoder_no_repeat_ngram_size, *frame.source))
    ends = {(token,) for token in settings.eos_token_id}
    words = sorted({word for word in settings.bad_words_ids if len(word) <= frame.longest} - ends)
    if words:
        found.append(_no_bad_words(words, size))
    if settings.eos_token_id and frame.shortest > 0:
        found.append(_ban(settings.eos_token_id, size, lambda n: n < frame.shortest))
    if settings.forced_bos_token_id is not None:
        found.append(_force((settings.forced_bos_token_id,), size, 1))
    if settings.forced_eos_token_id:
        found.append(_force(settings.forced_eos_token_id, size, frame.longest - 1))
    if settings.remove_invalid_values:
        found.append(_finite)
    if settings.suppress_tokens:
        found.append(_ban(settings.suppress_tokens, size, lambda n: True))
    if settings.begin_suppress_tokens:
        forced = frame.prompt == 1 and settings.forced_bos_token_id is not None
        first = frame.prompt + forced
        found.append(_ban(settings.begin_suppress_tokens, size, lambda n: n == first))
    if settings.renormalize_logits:
        found.append(lambda tokens, length, scores: jax.nn.log_softmax(scores, axis=-1))
    return found


def process(
    chosen: Sequence[Processor],
    tokens: Int[Array, "rows max_length"],
    length: Int[Array, ""],
    scores: Float[Array, "rows vocabulary"],
) -> Float[Array, "rows vocabulary"]:
    """The scores after all of `chosen`."""
    for processor in chosen:
        scores = processor(tokens, length, scores)
    return scores


def is_one_of(tokens: Int[Array, "*shape"], some: Sequence[int]) -> Bool[Array, "*shape"]:
    """Which of the tokens are some; none where there are none."""
    return jnp.any(tokens[..., None] == jnp.asarray(some, jnp.int32), axis=-1)


def _members(tokens: Sequence[int], size: int) -> np.ndarray:
    found = np.zeros(size, bool)
    found[list(tokens)] = True
    return found


def _ban(tokens: Sequence[int], size: int, when: Callable[[Array], Any]) -> Processor:
    """No score for some tokens, at some lengths."""
    banned = _members(tokens, size)
    return lambda _, length, scores: jnp.where(banned & when(length), -jnp.inf, scores)


def _force(tokens: Sequence[int], size: int, at: int) -> Processor:
    """Score 0 for some tokens and none for the others, at one length."""
    forced = np.where(_members(tokens, size), 0.0, -np.inf).astype(np.float32)
    return lambda _, length, scores: jnp.where(length == at, forced, scores)


def _finite(_: Array, length: Array, scores: Array) -> Array:
    limits = jnp.finfo(scores.dtype)
    return jnp.nan_to_num(scores, nan=0.0, posinf=limits.max, neginf=limits.min)


def _repetition(penalty: float) -> Processor:
    def apply(tokens, length, scores):
        rows, size = scores.shape
        written = jnp.where(jnp.arange(tokens.shape[1]) < length, tokens, size)
        seen = jnp.zeros((rows, size), bool)
        seen = seen.at[jnp.arange(rows)[:, None], written].set(True, mode="drop")
        changed = jnp.where(scores < 0, scores * penalty, scores / penalty)
        return jnp.where(seen, changed, scores)

    return apply


def _drop(scores: Array, tokens: Array, which: Array) -> Array:
    """No score for those of the tokens `[rows, some]` that are meant."""
    rows, size = scores.shape
    places = jnp.arange(rows)[:, None], jnp.where(which, tokens, size)
    return scores.at[places].set(-jnp.inf, mode="drop")


def _last(tokens: Array, length: Array, number: int) -> Array:
    """The last tokens of each row, `[rows, number]`."""
    return jax.lax.dynamic_slice_in_dim(tokens, length - number, number, axis=1)


def _windows(tokens: Array, size: int) -> Array:
    """All runs of so many tokens, `[rows, places, size]`."""
    count = max(tokens.shape[1] - size + 1, 0)
    return jnp.stack([tokens[:, i : i + count] for i in range(size)], axis=-1)


def _follows(windows: Array, tokens: Array, length: Array) -> Array:
    """Which windows begin as the text ends, `[rows, places]`: it must not go on as they do."""
    size = windows.shape[-1]
    ending = _last(tokens, length, size - 1)
    alike = jnp.all(windows[..., :-1] == ending[:, None], axis=-1)
    return alike & (length >= size - 1)


def _no_repeat(size: int) -> Processor:
    def apply(tokens, length, scores):
        windows = _windows(tokens, size)
        written = jnp.arange(windows.shape[1]) + size <= length
        return _drop(scores, windows[..., -1], written & _follows(windows, tokens, length))

    return apply


def _no_repeat_of_source(size: int, source: Array, real: Array) -> Processor:
    """As transformers does, but for padding, whose place in a batch then decides nothing."""
    windows = _windows(source, size)
    whole = jnp.all(_windows(real, size), axis=-1)

    def apply(tokens, length, scores):
        return _drop(scores, windows[..., -1], whole & _follows(windows, tokens, length))

    return apply


def _no_bad_words(words: Sequence[tuple[int, ...]], size: int) -> Processor:
    single = _members([word[0] for word in words if len(word) == 1], size)
    longer = [
        np.asarray([word for word in words if len(word) == n], np.int32)
        for n in sorted({len(word) for word in words} - {1})
    ]

    def apply(tokens, length, scores):
        scores = jnp.where(single, -jnp.inf, scores)
        for group in longer:
            windows = jnp.broadcast_to(group, (len(tokens), *group.shape))
            scores = _drop(scores, windows[..., -1], _follows(windows, tokens, length))
        return scores

    return apply
