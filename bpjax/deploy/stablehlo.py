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

from bpjax.deploy.answer import INPUTS, answer
from bpjax.models.config import BertConfig
from bpjax.models.pretrained import save_pretrained
from bpjax.models.sources import WEIGHTS

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def save_stablehlo(
    config: BertConfig, params: dict[str, Any], tokenizer: Path, folder: Path
) -> None:
    """Saves config, tokenizer files and `model.stablehlo`, a serialised `jax.export.Exported`.

    Takes int32 `[batch, length]` each; gives logits as bpjax does, or the hidden states of a model
    without a head. Takes and raises what `save_padded` does.
    """

    def add_file(written: Path) -> None:
        sizes = export.symbolic_shape(
            "batch, length",
            constraints=("batch >= 1", "length >= 1", f"length <= {config.max_positions}"),
        )
        spec = jax.ShapeDtypeStruct(sizes, jnp.int32)

        def call(*inputs: jax.Array) -> jax.Array:
            return answer(config, params, dict(zip(INPUTS, inputs, strict=True)))

        exported = export.export(jax.jit(call), platforms=PLATFORMS)(spec, spec, spec)
        (written / FILE).write_bytes(exported.serialize())
        (written / WEIGHTS).unlink()

    save_pretrained(folder, config, params, tokenizer, finish=add_file)


def open_stablehlo(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, as a function of a batch."""
    call = jax.jit(export.deserialize(bytearray((folder / FILE).read_bytes())).call)
    return lambda batch: np.asarray(call(*(batch[name] for name in INPUTS)))
