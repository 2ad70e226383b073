"""StableHLO: a model with its weights in one file, for any batch and length, without bpjax.

`jax.export.deserialize(path.read_bytes()).call(input_ids, attention_mask, token_type_ids)` runs it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from bpjax.export.outputs import answer
from bpjax.models.architecture import Config
from bpjax.models.bert.module import INPUTS
from bpjax.models.sources import WEIGHTS

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Puts `model.stablehlo`, a serialised `jax.export.Exported`, in place of a folder's weights.

    It takes int32 `[batch, length]` each, of any batch and length, and gives logits as bpjax does,
    or the hidden states of a model without a head.
    """
    sizes = export.symbolic_shape(
        "batch, length",
        constraints=("batch >= 1", "length >= 1", f"length <= {config.max_positions}"),
    )
    spec = jax.ShapeDtypeStruct(sizes, jnp.int32)

    def call(*inputs: jax.Array) -> jax.Array:
        return answer(config, params, dict(zip(INPUTS, inputs, strict=True)))

    exported = export.export(jax.jit(call), platforms=PLATFORMS)(spec, spec, spec)
    (folder / FILE).write_bytes(exported.serialize())
    (folder / WEIGHTS).unlink()


def open_stablehlo(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, as a function of a batch."""
    call = jax.jit(export.deserialize(bytearray((folder / FILE).read_bytes())).call)
    return lambda batch: np.asarray(call(*(batch[name] for name in INPUTS)))
