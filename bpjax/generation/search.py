"""The entry: texts of a batch, as the settings want them sought."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from bpjax import models
from bpjax.generation.beams import search_beams
from bpjax.generation.greedy import greedy
from bpjax.generation.processors import Frame, processors
from bpjax.generation.step import Generated
from bpjax.models.architecture import Config
from bpjax.models.generation import Decoder, Generation
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS, source_inputs
from bpjax.models.layers.products import unrounded


def generate(
    config: Config,
    variables: dict,
    batch: Mapping[str, Any],
    settings: Generation | None = None,
) -> Generated:
    """Writes a text for each row of a batch, as `generate` of transformers does.

    One program is compiled for each config, settings and shape of a batch.

    Args:
      config: of a model whose head generates.
      variables: `params`, and perhaps `masks`.
      batch: of `training.input.collate`; of its arrays only those are used that a model reads.
      settings: how; by default those that the model was saved with.

    Raises:
      UserError: settings that the model cannot follow: a token outside its vocabulary, more tokens
        than it has positions, or no token to start with.
    """
    if settings is not None:
        config = config.replace(generation=settings)
    settings_of(config).require_vocabulary(config.vocab_size)
    with unrounded():
        return _search(config, variables, _read(config, batch))


def settings_of(config: Config) -> Generation:
    """What a model that writes was saved with."""
    return _decoder(config).settings(config)


def prompt_length(config: Config, batch: Mapping[str, Any]) -> int:
    """Tokens that each text of a batch starts with."""
    return int(_decoder(config).prompt(config, _read(config, batch)).shape[1])


def _read(config: Config, batch: Mapping[str, Any]) -> dict[str, Array]:
    """What a model reads of a batch before it writes."""
    return {
        each.name: jnp.asarray(batch[each.name]) for each in source_inputs(models.inputs(config))
    }


def _decoder(config: Config) -> Decoder:
    found = models.architecture(config).decoder
    if found is None:
        raise ValueError(f"a model of {config.model_type} writes no texts")
    return found


@functools.partial(jax.jit, static_argnums=0)
def _search(config: Config, variables: dict, batch: dict[str, Array]) -> Generated:
    decoder, settings = _decoder(config), settings_of(config)
    prompt = decoder.prompt(config, batch).astype(jnp.int32)
    shortest, longest = settings.lengths(prompt.shape[1], config.max_positions)
    cache = decoder.start(config, variables, batch, longest)

    def step(tokens: Array, position: Array, own: PyTree) -> tuple[Array, PyTree]:
        logits, after = decoder.step(config, variables, tokens, position, cache._replace(own=own))
        return logits.astype(jnp.float32), after.own

    source = None
    if settings.encoder_no_repeat_ngram_size:
        beams = settings.num_beams
        real = batch[ATTENTION_MASK] > 0
        source = jnp.repeat(batch[INPUT_IDS], beams, axis=0), jnp.repeat(real, beams, axis=0)
    frame = Frame(prompt.shape[1], shortest, longest, config.vocab_size, source)
    search = greedy if settings.num_beams == 1 else search_beams
    return search(step, cache.own, prompt, longest, settings, processors(settings, frame))
