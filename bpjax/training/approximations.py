"""GELU becomes ReLU, and LayerNorm a scale and a shift, little by little (Lagunas et al. 2021).

Both are optional. While a stage trains, the collection `approximations` tells the layers how much
of the cheaper operation to take; at its end `finish` leaves a model that has it alone.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from bpjax import models
from bpjax.models.architecture import Config
from bpjax.models.heads import real_tokens
from bpjax.models.layers.collections import REAL, SHARE
from bpjax.models.layers.norm import LayerNorm, token_moments
from bpjax.pruning.structure import Path, tokens_beside
from bpjax.training.calibration import token_means
from bpjax.training.evaluation import Batch, packing_of

NAMES = ("relu", "affine_norm")
"""What can be approximated; an architecture says which fields of its config then change."""


def approximate(
    config: Config, names: tuple[str, ...], share: Float[Array, ""] | float, batch: Batch
) -> dict[str, dict]:
    """The collection `approximations` of a model, for a step.

    Args:
      config: the model's sizes.
      names: some of `NAMES`.
      share: of the cheaper operation, from 0 (none) to 1.
      batch: whose tokens the norms average over.
    """
    found: dict[Path, Any] = {}
    if "relu" in names:
        for sublayer in models.describe(config).sublayers:
            if sublayer.kind.rpartition("/")[2] == "ffn":
                found[(*sublayer.write.path[:-1], SHARE)] = share
    if "affine_norm" in names:
        structure = models.describe(config)
        for path in _norms(config):
            real = real_tokens(batch, tokens_beside(structure, path))
            if packing := packing_of(batch):
                real = packing.pack(real)
            found |= {(*path, SHARE): share, (*path, REAL): real}
    return traverse_util.unflatten_dict(found)


def finished(config: Config, names: tuple[str, ...]) -> Any:
    """The config of a model that has the cheaper operations alone."""
    fields = models.architecture(config).approximations
    return config.replace(**{k: v for name in names for k, v in fields[name].items()})


def finish(
    config: Any,
    names: tuple[str, ...],
    params: dict,
    masks: dict,
    batches: Iterable[Batch],
) -> tuple[Any, dict]:
    """The model with the cheaper operations alone.

    The mean m and variance v of all tokens that a norm met become part of its scale γ and shift β:
    γ / √(v + ε) and β − γ m / √(v + ε).

    Args:
      config: the model's sizes.
      names: some of `NAMES`.
      params: its parameters.
      masks: its masks.
      batches: training rows, to find m and v on; unused without norms to approximate.

    Returns:
      Its config and parameters.
    """
    after = finished(config, names)
    if "affine_norm" in names and after != config:
        shares = functools.partial(approximate, config, names, 1.0)
        read = functools.partial(_read_norm, frozenset(_norms(config)))
        means = token_means(config, params, batches, read, "__call__", masks, shares)
        flat = traverse_util.flatten_dict(params, sep="/")
        for path, (mean, variance) in means.items():
            factor = jax.lax.rsqrt(variance + config.norm_eps)
            scale, bias = flat[f"{path}/scale"], flat[f"{path}/bias"]
            flat[f"{path}/scale"] = scale * factor
            flat[f"{path}/bias"] = bias - scale * mean * factor
        params = traverse_util.unflatten_dict(flat, sep="/")
    return after, params


def _norms(config: Config) -> tuple[Path, ...]:
    return tuple(
        path for stream in models.describe(config).streams.values() for path in stream.norms
    )


def _read_norm(norms: frozenset[Path], module: object, x: Array) -> Float[Array, "tokens 2"] | None:
    if not isinstance(module, LayerNorm) or module.path not in norms:
        return None
    moments = token_moments(x.reshape(-1, x.shape[-1]).astype(jnp.float32), module.hidden_mask())
    return jnp.concatenate(moments, axis=-1)
