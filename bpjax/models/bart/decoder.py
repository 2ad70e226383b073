"""How a BART writes, a token at a time: see `models.generation.Decoder`."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.errors import UserError
from bpjax.models.bart.config import BartConfig
from bpjax.models.bart.module import Bart
from bpjax.models.bart.sublayers import Size
from bpjax.models.generation import Cache, Decoder
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS


def _prompt(config: BartConfig, batch: Mapping[str, Any]) -> Int[Array, "sources 1"]:
    """The token that every text starts with.

    Raises:
      UserError: the model names none.
    """
    start = config.generation.decoder_start_token_id
    if start is None:
        raise UserError(
            "decoder_start_token_id is None: expected the token that a text starts with, of mBART "
            "the target's language; set it"
        )
    return jnp.full((batch[INPUT_IDS].shape[0], 1), start, jnp.int32)


def _start(config: BartConfig, variables: dict, batch: Mapping[str, Any], length: Size) -> Cache:
    module = Bart(config)
    source = (batch[name] for name in (INPUT_IDS, ATTENTION_MASK))
    found: Any = module.apply(variables, *source, length, method="start")
    return found


def _step(
    config: BartConfig,
    variables: dict,
    tokens: Int[Array, "sources beams"],
    position: Int[Array, ""],
    cache: Cache,
) -> tuple[Float[Array, "sources beams vocabulary"], Cache]:
    found: Any = Bart(config).apply(variables, tokens, position, cache, method="step")
    return found


DECODER = Decoder(
    settings=lambda config: config.generation, prompt=_prompt, start=_start, step=_step
)
