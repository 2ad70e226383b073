"""StableHLO: a model with its weights in one file, for any batch and length, without bpjax.

`jax.export.deserialize(path.read_bytes()).call(input_ids, attention_mask, token_type_ids)` runs it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from bpjax import models
from bpjax.errors import UserError
from bpjax.exports.outputs import outputs_of
from bpjax.models.architecture import Config
from bpjax.models.sources import WEIGHTS

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Puts `model.stablehlo`, a serialised `jax.export.Exported`, in place of a folder's weights.

    It takes the model's inputs one after the other, of any batch and length, and gives logits as
    bpjax does, or the hidden states of a model without a head.

    Raises:
      UserError: more weights than such a file can hold.
    """
    size = sum(np.asarray(each).nbytes for each in jax.tree.leaves(params))
    if size >= flatbuffers.Builder.MAX_BUFFER_SIZE:
        raise _too_large(size)
    inputs = models.inputs(config)
    lengths = list(dict.fromkeys(n for each in inputs for n in each.shape if isinstance(n, str)))
    scope = export.SymbolicScope(
        ["batch >= 1", *(f"{n} >= 1" for n in lengths)]
        + [f"{n} <= {config.max_positions}" for n in lengths]
    )
    specs = [
        jax.ShapeDtypeStruct(
            export.symbolic_shape(", ".join(map(str, ("batch", *each.shape))), scope=scope),
            jnp.dtype(each.dtype),
        )
        for each in inputs
    ]

    def call(*arrays: jax.Array) -> jax.Array:
        named = zip((each.name for each in inputs), arrays, strict=True)
        return outputs_of(config, params, dict(named))

    exported = export.export(jax.jit(call), platforms=PLATFORMS)(*specs)
    try:
        found = exported.serialize()
    except flatbuffers.builder.BuilderSizeError as error:  # the program takes some room, too
        raise _too_large(size) from error
    (folder / FILE).write_bytes(found)
    (folder / WEIGHTS).unlink()


def _too_large(size: int) -> UserError:
    limit = flatbuffers.Builder.MAX_BUFFER_SIZE
    return UserError(
        f"format stablehlo: the model has {size / 1e9:.2f} GB of weights: expected less than "
        f"{limit / 1e9:.2f} GB with the program, all that its file can hold; take --to=onnx"
    )


def open_stablehlo(config: Config, folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, as a function of a batch."""
    call = jax.jit(export.deserialize(bytearray((folder / FILE).read_bytes())).call)
    names = [each.name for each in models.inputs(config)]
    return lambda batch: np.asarray(call(*(batch[name] for name in names)))
