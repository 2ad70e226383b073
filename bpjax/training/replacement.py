"""GELU becomes ReLU, and LayerNorm a scale and a shift, little by little (Lagunas et al. 2021).

Both are optional. While a stage trains, the collection `replaced` tells the layers how much of the
cheaper operation to take; at its end `finish` leaves a model that has it alone.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from bpjax.models.config import BertConfig
from bpjax.models.layers import LayerNorm, token_moments
from bpjax.training.calibration import token_means
from bpjax.training.evaluation import Batch

FIELDS = {"relu": {"activation": "relu"}, "affine_norm": {"norm": "affine"}}
"""What can be replaced: the fields of the model's config that change."""


def replace(
    config: BertConfig, names: tuple[str, ...], share: Float[Array, ""] | float
) -> dict[str, dict]:
    """The collection `replaced` of a model, for a step.

    Args:
      config: the model's sizes.
      names: keys of `FIELDS`.
      share: of the cheaper operation, from 0 (none) to 1.
    """
    paths = []
    for i in range(config.num_layers):
        if "relu" in names:
            paths.append(f"layer_{i}/ffn")
        if "affine_norm" in names:
            paths += [f"layer_{i}/attention/norm", f"layer_{i}/ffn/norm"]
    if "affine_norm" in names:
        paths.append("embeddings/norm")
    return traverse_util.unflatten_dict({f"{path}/share": share for path in paths}, sep="/")


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
        replaced = replace(config, names, 1.0)
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
