"""Predictions of a model over a split, and the task's metrics from them."""

import functools
from collections.abc import Iterable

import jax
import numpy as np

from bpjax.models.config import BertConfig
from bpjax.training.step import Batch, forward


@functools.partial(jax.jit, static_argnums=0)
def _logits(config: BertConfig, params: dict, masks: dict | None, batch: Batch) -> jax.Array:
    return forward(config, params, batch, masks)


def predict(
    config: BertConfig, params: dict, batches: Iterable[dict[str, np.ndarray]], masks: dict | None
) -> list[np.ndarray]:
    """Logits of every row, in the order of the features.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      masks: the `masks` collection of a masked model; None for a dense one.

    Returns:
      One array a row: `[num_labels]`, or for a span head `[tokens, 2]` without the padding.
    """
    rows: dict[int, np.ndarray] = {}
    for batch in batches:
        logits = np.asarray(_logits(config, params, masks, batch), np.float32)
        lengths = batch["attention_mask"].sum(-1)
        for place, index in enumerate(batch["index"]):
            if index >= 0:
                row = logits[place]
                rows[int(index)] = row[: lengths[place]] if row.ndim == 2 else row
    return [rows[index] for index in sorted(rows)]
