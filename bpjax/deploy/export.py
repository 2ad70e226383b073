"""The doors out of bpjax, each checked by loading what was saved and asking it the same."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.deploy.answer import answer
from bpjax.deploy.huggingface import save_padded, save_ragged
from bpjax.deploy.latency import measure_latency, random_batch
from bpjax.deploy.onnx import open_onnx, save_onnx
from bpjax.deploy.stablehlo import open_stablehlo, save_stablehlo
from bpjax.models.config import BertConfig

Call = Callable[[dict[str, Any]], np.ndarray]


class Format(NamedTuple):
    """One form of a saved model.

    Attributes:
      save: (config, params, folder with the tokenizer's files, new folder) to files.
      open: the saved folder as a function of a batch; None where other software is needed for it.
    """

    save: Callable[[BertConfig, dict[str, Any], Path, Path], None]
    open: Callable[[Path], Call] | None = None


FORMATS = {
    "hf": Format(save_ragged),
    "hf-padded": Format(save_padded),
    "onnx": Format(save_onnx, open_onnx),
    "stablehlo": Format(save_stablehlo, open_stablehlo),
}
"""What `bpjax export --to` can write. To add a form: one file, and its line here."""

TOLERANCE = 1e-4
_SHAPES = ((1, 5), (3, 24))  # of the batches that are compared


def compare(
    config: BertConfig, params: dict[str, Any], call: Call, timed: tuple[int, int] = (8, 128)
) -> dict[str, float]:
    """Holds an exported model against ours, on random tokens with padding.

    Args:
      config: of the model.
      params: its parameters.
      call: the exported model.
      timed: (batch, length) at which both are timed, in turns.

    Returns:
      `max_abs_diff` of the answers at real tokens; `ms` of the exported model and `bpjax_ms`,
      medians.

    Raises:
      RuntimeError: they differ by more than `TOLERANCE`.
    """
    params = jax.device_put(params)
    ours = jax.jit(functools.partial(answer, config))
    worst = 0.0
    for size, length in _SHAPES:
        batch = random_batch(size, min(length, config.max_positions), config.vocab_size)
        lengths = jnp.arange(size)[:, None] + 3
        mask = (jnp.arange(batch["input_ids"].shape[1]) < lengths).astype(jnp.int32)
        batch["attention_mask"] = mask
        found, expected = np.asarray(call(batch)), np.asarray(ours(params, batch))
        apart = np.abs(found - expected)
        if apart.shape[:2] == mask.shape:  # nobody reads what stands at padding
            apart = apart[np.asarray(mask, bool)]
        worst = max(worst, float(apart.max()))
    if worst > TOLERANCE:
        raise RuntimeError(f"the exported model differs by {worst:.1e}, expected {TOLERANCE:.0e}")
    batch = random_batch(timed[0], min(timed[1], config.max_positions), config.vocab_size)
    times = measure_latency(
        {"ms": lambda: call(batch), "bpjax_ms": lambda: ours(params, batch)}, seconds=20.0
    )
    return {"max_abs_diff": worst, **times}
