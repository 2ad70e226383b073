"""Beam search: some texts a source are gone on with at each step, the best finished one is given.

The arithmetic is that of transformers (`_beam_search`), its -1e9 for what cannot be chosen
included, so that both find the same texts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from bpjax.generation.processors import Processor, is_one_of, process
from bpjax.generation.step import Generated, Step
from bpjax.models.generation import NEVER, Generation

NOT_CHOSEN = -1.0e9
"""The score of texts that are none, or that may not be chosen."""


class _Running(NamedTuple):
    """Texts that are gone on with, the best first."""

    tokens: Int[Array, "sources beams max_length"]
    scores: Float[Array, "sources beams"]  # sums of log probabilities


class _Finished(NamedTuple):
    """The best finished texts, the best first."""

    tokens: Int[Array, "sources beams max_length"]
    scores: Float[Array, "sources beams"]  # with the penalty of length
    real: Bool[Array, "sources beams"]  # which of them are texts


class _State(NamedTuple):
    length: Int[Array, ""]
    running: _Running
    finished: _Finished
    open: Bool[Array, "sources 1"]  # whether a running text may still be better
    going: Bool[Array, ""]
    own: PyTree


def search_beams(
    step: Step,
    own: PyTree,
    prompt: Int[Array, "sources n"],
    longest: int,
    settings: Generation,
    chosen: list[Processor],
) -> Generated:
    """Writes a text a source, the best of those that beam search finds.

    Args:
      step: of the model.
      own: of the cache, a row a source.
      prompt: that the texts start with.
      longest: tokens at most.
      settings: of the search.
      chosen: what changes scores.
    """
    (sources, start), beams = prompt.shape, settings.num_beams
    # So many that as many as beams go on where each that is gone on with could end in each way.
    candidates = max(2, 1 + len(settings.eos_token_id)) * beams
    stops_when_full = settings.early_stopping is True
    # In double precision as Python has it, before it meets a float32.
    powers = jnp.asarray(
        np.arange(longest - start + 1, dtype=float).clip(1) ** float(settings.length_penalty),
        jnp.float32,
    )

    def write(state: _State) -> _State:
        length, running, finished = state.length, state.running, state.finished
        last = jax.lax.dynamic_slice_in_dim(running.tokens, length - 1, 1, axis=2)[..., 0]
        logits, own = step(last, length - 1, state.own)
        size = logits.shape[-1]
        scores = jax.nn.log_softmax(logits, axis=-1).reshape(sources * beams, size)
        flat = running.tokens.reshape(sources * beams, longest)
        scores = process(chosen, flat, length, scores).reshape(sources, beams, size)

        # The best candidates to follow, of all beams of a source.
        sums = (scores + running.scores[..., None]).reshape(sources, beams * size)
        best, places = jax.lax.top_k(sums, candidates)
        beam, token = places // size, (places % size).astype(jnp.int32)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            _take(running.tokens, beam), token[..., None], length, axis=2
        )
        ends = is_one_of(token, settings.eos_token_id) | (length + 1 >= longest)

        # Those that do not end go on.
        onward = best + ends * NOT_CHOSEN
        _, order = jax.lax.top_k(onward, beams)
        running = _Running(_take(tokens, order), _take(onward, order))

        # Of those that end the best are kept, but only from among as many as there are beams.
        ended = ends & (jnp.arange(candidates) < beams)
        scores = best / powers[length + 1 - start]
        if stops_when_full:
            scores += jnp.all(finished.real, axis=1, keepdims=True) * NOT_CHOSEN
        scores += ~state.open * NOT_CHOSEN
        scores += ~ended * NOT_CHOSEN
        both = [
            jnp.concatenate(pair, axis=1)
            for pair in zip(finished, (tokens, scores, ended), strict=True)
        ]
        _, kept = jax.lax.top_k(both[1], beams)
        finished = _Finished(*(_take(each, kept) for each in both))

        # Whether the best that goes on may become better than the worst that is kept.
        length = length + 1
        longest_is_best = settings.early_stopping == NEVER and settings.length_penalty > 0
        reached = longest - start if longest_is_best else length - start
        hoped = running.scores[:, :1] / powers[reached]
        worst = jnp.min(finished.scores, axis=1, keepdims=True)
        worst = jnp.where(finished.real, worst, NOT_CHOSEN)
        is_open = state.open & jnp.any(hoped > worst, axis=1, keepdims=True)
        going = jnp.any(is_open) & ~jnp.all(ends)
        if stops_when_full:
            going &= ~jnp.all(finished.real)

        rows = jnp.arange(sources)[:, None] * beams + _take(beam, order)
        own = jax.tree.map(lambda x: x[rows.reshape(-1)], own)
        return _State(length, running, finished, is_open, going, own)

    tokens = jnp.full((sources, beams, longest), settings.fill, jnp.int32)
    tokens = tokens.at[:, :, :start].set(prompt[:, None])
    none = jnp.full((sources, beams), NOT_CHOSEN, jnp.float32)
    found = jax.lax.while_loop(
        lambda state: state.going,
        write,
        _State(
            jnp.int32(start),
            # Beams begin alike: all but the first are put off, or they would stay alike.
            _Running(tokens, none.at[:, 0].set(0.0)),
            _Finished(tokens, none, jnp.zeros((sources, beams), bool)),
            jnp.ones((sources, 1), bool),
            jnp.bool_(True),
            jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), own),
        ),
    )
    return Generated(found.finished.tokens[:, 0], found.finished.scores[:, 0])


def _take(values: Array, places: Int[Array, "sources some"]) -> Array:
    """Of each source some of its texts: `[sources, texts, …]` to `[sources, some, …]`."""
    index = places.reshape(*places.shape, *(1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, index, axis=1)
