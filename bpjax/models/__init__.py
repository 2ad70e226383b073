"""Flax modules of transformers whose layers need not be alike, with masks optional.

An architecture is a folder and a line in `ARCHITECTURES`. The functions below ask it, by the
`model_type` of a config.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from bpjax.models import bart, bert
from bpjax.models.architecture import Architecture, Config, Stored
from bpjax.models.inputs import Input
from bpjax.models.quantize import stored
from bpjax.pruning.structure import Sizes, Structure

ARCHITECTURES: dict[str, Architecture] = {
    name: each for each in (bert.ARCHITECTURE, bart.ARCHITECTURE) for name in each.model_types
}
"""By the `model_type` of a config."""


def architecture(config: Config) -> Architecture:
    """Of a model."""
    return ARCHITECTURES[config.model_type]


def build(config: Config) -> nn.Module:
    """The module of a model: variables `params`, and optionally `masks` and `approximations`."""
    return architecture(config).build(config)


def describe(config: Config) -> Structure:
    """Where a model keeps its units."""
    return architecture(config).describe(config)


def inputs(config: Config) -> tuple[Input, ...]:
    """What a model reads of a batch."""
    return architecture(config).inputs(config)


def tensors(config: Config) -> dict[str, Stored]:
    """Every parameter of a model, by its path: where it lies in a checkpoint."""
    table = architecture(config).tensors(config)
    return stored(table) if config.quantization else table


def resize(config: Config, sizes: Sizes) -> Any:
    """The config of a model of other sizes, such as surgery left."""
    return architecture(config).resize(config, sizes)


def init(config: Config, rng: Key[Array, ""]) -> dict:
    """Fresh parameters: normal(0.02) kernels and embeddings, zero biases, unit norms."""
    example = {
        each.name: jnp.zeros((1, *(2 if isinstance(n, str) else n for n in each.shape)), each.dtype)
        for each in inputs(config)
    }
    return jax.jit(build(config).init)(rng, **example)["params"]
