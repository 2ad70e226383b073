"""What an exported model is given, and what it is to give: the same as `outputs_of`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax import models
from bpjax.models.architecture import Config, Outputs
from bpjax.models.heads import HEADS
from bpjax.models.inputs import TARGET_LENGTH, Input, source_inputs

DECODER_IDS = "decoder_input_ids"
"""The beginning of the text that is written, from its first token on: `[batch, target_length]`."""


def inputs_of(config: Config) -> tuple[Input, ...]:
    """What an exported model is given: of one that writes, the text so far."""
    inputs = models.inputs(config)
    if not HEADS[config.head].generates:
        return inputs
    return (*source_inputs(inputs), Input(DECODER_IDS, (TARGET_LENGTH,), below=config.vocab_size))


def outputs_of(
    config: Config, params: dict[str, Any], batch: dict[str, Any]
) -> Float[Array, "batch *answer"]:
    """A model's logits, or without a head its last hidden states.

    Of one that writes, the logits of what follows each token of a text, `[batch, target_length,
    vocabulary]`, of which it is given one after the other, as where it writes.
    """
    if HEADS[config.head].generates:
        return _followers(config, params, batch)
    inputs = {each.name: batch[each.name] for each in models.inputs(config)}
    outputs: Outputs = models.build(config).apply({"params": params}, **inputs)  # type: ignore[assignment]
    found = outputs.hidden if outputs.logits is None else outputs.logits
    assert found is not None
    return found


def _followers(
    config: Config, params: dict[str, Any], batch: dict[str, Any]
) -> Float[Array, "batch target_length vocabulary"]:
    decoder, variables = models.architecture(config).decoder, {"params": params}
    assert decoder is not None, f"{config.model_type} has no decoder"
    source = {each.name: batch[each.name] for each in source_inputs(models.inputs(config))}
    tokens = jnp.asarray(batch[DECODER_IDS])
    cache = decoder.start(config, variables, source, tokens.shape[1])

    def step(own: Any, given: tuple[Array, Array]) -> tuple[Any, Array]:
        position, last = given
        written = cache._replace(own=own)
        logits, after = decoder.step(config, variables, last[:, None], position, written)
        return after.own, logits[:, 0]

    _, logits = jax.lax.scan(step, cache.own, (jnp.arange(tokens.shape[1]), tokens.T))
    return jnp.moveaxis(logits, 0, 1)
