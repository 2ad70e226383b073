"""GELU becomes ReLU, and LayerNorm a scale and a shift, little by little (Lagunas et al. 2021).

Both are optional. While a stage trains, the collection `replaced` tells the layers how much of the
cheaper operation to take; at its end `finish` leaves a model that has it alone.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from bpjax.models.config import BertConfig
from bpjax.models.layers import LayerNorm, token_moments
from bpjax.training.calibration import token_means
from bpjax.training.evaluation import Batch, real_tokens

FIELDS = {"relu": {"activation": "relu"}, "affine_norm": {"norm": "affine"}}
"""What can be replaced: the fields of the model's config that change."""


def replace(
    config: BertConfig, names: tuple[str, ...], share: Float[Array, ""] | float, batch: Batch
) -> dict[str, dict]:
    """The collection `replaced` of a model, for a step.

    Args:
      config: the model's sizes.
      names: keys of `FIELDS`.
      share: of the cheaper operation, from 0 (none) to 1.
      batch: whose tokens the norms average over.
    """
    layers = [f"layer_{i}" for i in range(config.num_layers)]
    found: dict[str, Any] = {}
    if "relu" in names:
        found |= {f"{layer}/ffn/share": share for layer in layers}
    if "affine_norm" in names:
        real = real_tokens(batch)
        norms = [f"{layer}/{part}/norm" for layer in layers for part in ("attention", "ffn")]
        for path in (*norms, "embeddings/norm"):
            found |= {f"{path}/share": share, f"{path}/real": real}
    return traverse_util.unflatten_dict(found, sep="/")


def finished(config: BertConfig, names: tuple[str, ...]) -> BertConfig:
    """The config of a model that has the cheaper operations alone."""
    return config.replace(**{k: v for name in names for k, v in FIELDS[name].items()})


def finish(
    config: BertConfig,
    names: tuple[str, ...],
    params: dict,
    masks: dict,
    batches: Iterable[Batch],
) -> tuple[BertConfig, dict]:
    """The model with the cheaper operations alone.

    The mean m and variance v of all tokens that a norm met become part of its scale γ and shift β:
    γ / √(v + ε) and β − γ m / √(v + ε).

    Args:
      config: the model's sizes.
      names: keys of `FIELDS`.
      params: its parameters.
      masks: its masks.
      batches: training rows, to find m and v on; unused without norms to replace.

    Returns:
      Its config and parameters.
    """
    after = finished(config, names)
    if after.norm != config.norm:
        replaced = functools.partial(replace, config, names, 1.0)
        means = token_means(config, params, batches, _read_norm, masks, replaced)
        flat = traverse_util.flatten_dict(params, sep="/")
        for path, (mean, variance) in means.items():
            factor = jax.lax.rsqrt(variance + config.norm_eps)
            scale, bias = flat[f"{path}/scale"], flat[f"{path}/bias"]
            flat[f"{path}/scale"] = scale * factor
            flat[f"{path}/bias"] = bias - scale * mean * factor
        params = traverse_util.unflatten_dict(flat, sep="/")
    return after, params


def _read_norm(module: object, x: Array) -> dict[str, Float[Array, "tokens 2"]]:
    if not isinstance(module, LayerNorm):
        return {}
    moments = token_moments(x.reshape(-1, x.shape[-1]).astype(jnp.float32), module.hidden_mask())
    return {"": jnp.concatenate(moments, axis=-1)}
