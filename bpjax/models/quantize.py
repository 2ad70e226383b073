"""Quantised models: float parameters become whole numbers and scales, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bpjax.errors import UserError
from bpjax.models.architecture import Config, Json, Stored
from bpjax.models.layers.quantization import (
    BITS,
    INPUTS,
    SCALE,
    Quantization,
    as_stored,
    axis_of,
    round_array,
)
from bpjax.models.sizes import SHRUNKEN_KEY

PRESETS = {
    "int8": Quantization(),
    "int8_tensor": Quantization(inputs="tensor"),
    "int6": Quantization(6),
    "int4": Quantization(4),
}
"""By name. Inputs of products are rounded to 8 bits in all."""

KEY = "quantization"
"""Of config.json, inside what is bpjax's there."""


def quantize(config: Config, params: dict[str, Any], preset: str) -> tuple[Any, dict[str, Any]]:
    """Rounds a model's kernels and tables: nothing is trained, and no rows are needed.

    Args:
      config: of a model with float parameters.
      params: its parameters.
      preset: a key of `PRESETS`.

    Returns:
      The config, and the parameters with each kernel and table as int8 and its scales beside it,
      `[out]` or `[rows]`.

    Raises:
      UserError: an unknown preset, a model that is quantised already, or a parameter that is not
        finite.
    """
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}; choose one")
    require_float(config, "the model")
    config = config.replace(quantization=PRESETS[preset])
    return config, round_params(config, params)


def round_params(config: Config, params: dict[str, Any]) -> dict[str, Any]:
    """The whole numbers and scales that a model with `quantization` rounds its parameters to.

    Args:
      config: with `quantization`.
      params: float parameters.

    Raises:
      UserError: one that is not finite.
    """
    for path, value in traverse_util.flatten_dict(params, sep="/").items():
        if axis_of(path) is not None and not bool(jnp.isfinite(value).all()):
            raise UserError(
                f"{path} has numbers that are not finite: expected none; train the model again"
            )
    return as_integers(config, params)


def as_integers(config: Config, params: dict[str, Any]) -> dict[str, Any]:
    """The same of finite parameters, or of traced ones."""
    rounding = config.quantization
    assert rounding is not None, "a model that is not quantised"
    found = {}
    for path, value in traverse_util.flatten_dict(params, sep="/").items():
        found[path] = value
        if (axis := axis_of(path)) is not None:
            rounded = round_array(jnp.asarray(value), rounding.weights, axis)
            found[path] = rounded.values.astype(jnp.int8)
            found[path + SCALE] = rounded.scale.reshape(-1)
    return traverse_util.unflatten_dict(found, sep="/")


def dequantize(config: Config, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The float model whose parameters have the rounded values; its products round nothing.

    Args:
      config: of any model.
      params: its parameters.

    Returns:
      The config without quantization, and parameters of float32. A model that is not quantised
      stays as it is.
    """
    if config.quantization is None:
        return config, params
    flat = traverse_util.flatten_dict(params, sep="/")
    found = {}
    for path, value in flat.items():
        if (axis := axis_of(path)) is not None:
            arrays = jnp.asarray(value), jnp.asarray(flat[path + SCALE])
            found[path] = as_stored(*arrays, axis).dense()
        elif not path.endswith(SCALE):
            found[path] = value
    return config.replace(quantization=None), traverse_util.unflatten_dict(found, sep="/")


def require_float(config: Config, source: object) -> None:
    """Refuses a quantised model where its parameters are to be changed.

    Raises:
      UserError: it is one.
    """
    if config.quantization:
        raise UserError(
            f"{source} is quantised: expected float parameters to train, prune or quantise; name "
            "the model that it was made from, or write its values as float with bpjax export "
            "--to=hf"
        )


def stored(table: Mapping[str, Stored]) -> dict[str, Stored]:
    """Where a quantised model's arrays lie in a checkpoint, from where those of the float one do.

    The scales of `query.weight` are `query.weight_scale`.
    """
    found: dict[str, Stored] = {}

    def beside(name: str) -> str:
        return name + SCALE

    for path, each in table.items():
        if (axis := axis_of(path)) is None:
            found[path] = each
            continue
        found[path] = each._replace(dtype="int8")
        found[path + SCALE] = Stored(
            beside(each.name),
            (np.delete(each.shape, axis).item(),),
            also=tuple(map(beside, each.also)),
            fresh=each.fresh,
            copies=tuple(map(beside, each.copies)),
        )
    return found


def read_quantization(data: Json, where: str) -> Quantization | None:
    """What a config.json says of it; None of a float model.

    Args:
      data: the decoded file.
      where: its name, for messages.

    Raises:
      UserError: bits that bpjax does not have.
    """
    ours = data.get(SHRUNKEN_KEY)
    told = ours.get(KEY) if isinstance(ours, Mapping) else None
    if told is None:
        return None
    taken = {"weights": BITS, "inputs": INPUTS}
    if (
        not isinstance(told, Mapping)
        or told.keys() != taken.keys()
        or not all(type(x) in (int, str) and x in taken[name] for name, x in told.items())
    ):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY}.{KEY} is {told!r}: expected weights of one of "
            f"{', '.join(map(str, BITS))} bits and inputs by {' or '.join(INPUTS)}; save the model "
            "again"
        )
    return Quantization(**told)


def write_quantization(config: Config, data: dict[str, Any]) -> None:
    """Says in a config.json how a model is quantised, if it is."""
    if rounding := config.quantization:
        data[SHRUNKEN_KEY][KEY] = rounding._asdict()


def require_scales(params: Mapping[str, Any], name_of: Callable[[str], str]) -> None:
    """Refuses scales that no rounding makes.

    Args:
      params: parameters by path.
      name_of: of a path, what the file calls it.

    Raises:
      UserError: one that is not above zero, or not finite.
    """
    for path, value in params.items():
        if path.endswith(SCALE) and not bool((jnp.isfinite(value) & (value > 0)).all()):
            raise UserError(
                f"{name_of(path)} has scales that are not finite numbers above 0: expected such; "
                "save the model again"
            )
