"""Greedy search: of each text the likeliest next token, until all have ended."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from bpjax.generation.processors import Processor, is_one_of, process
from bpjax.generation.step import Generated, Step
from bpjax.models.generation import Generation


class _State(NamedTuple):
    length: Int[Array, ""]
    tokens: Int[Array, "sources max_length"]
    total: Float[Array, " sources"]  # of log probabilities
    new: Int[Array, " sources"]
    open: Bool[Array, " sources"]
    own: PyTree


def greedy(
    step: Step,
    own: PyTree,
    prompt: Int[Array, "sources n"],
    longest: int,
    settings: Generation,
    chosen: list[Processor],
) -> Generated:
    """Writes a text a source, as transformers does without sampling or beams (`_sample`).

    Args:
      step: of the model.
      own: of the cache.
      prompt: that the texts start with.
      longest: tokens at most.
      settings: of the search.
      chosen: what changes scores.
    """
    sources, start = prompt.shape
    tokens = jnp.full((sources, longest), settings.fill, jnp.int32).at[:, :start].set(prompt)

    def goes_on(state: _State) -> Array:
        return (state.length < longest) & jnp.any(state.open)

    def write(state: _State) -> _State:
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.length - 1, 1, axis=1)
        logits, own = step(last, state.length - 1, state.own)
        scores = process(chosen, state.tokens, state.length, logits[:, 0])
        best = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        probability = jnp.max(scores, axis=-1) - jax.nn.logsumexp(scores, axis=-1)
        written = jnp.where(state.open, best, settings.fill)
        return _State(
            state.length + 1,
            jax.lax.dynamic_update_slice_in_dim(state.tokens, written[:, None], state.length, 1),
            state.total + jnp.where(state.open, probability, 0.0),
            state.new + state.open,
            state.open & ~is_one_of(best, settings.eos_token_id),
            own,
        )

    found = jax.lax.while_loop(
        goes_on,
        write,
        _State(
            jnp.int32(start),
            tokens,
            jnp.zeros(sources, jnp.float32),
            jnp.zeros(sources, jnp.int32),
            jnp.ones(sources, bool),
            own,
        ),
    )
    return Generated(
        found.tokens, found.total / found.new.astype(jnp.float32) ** float(settings.length_penalty)
    )
