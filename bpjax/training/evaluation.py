"""A model's logits: for a batch, and for all rows of a split."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from bpjax import models
from bpjax.models.architecture import Config, Outputs
from bpjax.models.heads import HEADS
from bpjax.models.inputs import ATTENTION_MASK, INDEX, PACKED
from bpjax.models.layers.collections import (
    APPROXIMATIONS,
    GATES,
    INTERMEDIATES,
    MASKS,
    SCORES,
    STREAM,
)
from bpjax.models.layers.packing import Packing
from bpjax.models.layers.products import unrounded
from bpjax.pruning.structure import at, has
from bpjax.training.mesh import ONE_DEVICE, Layout, gather

Batch = dict[str, Any]
"""Arrays by name, see `training.input.collate`: of numpy there, traced inside a step."""


def apply(
    config: Config,
    params: dict,
    batch: Batch,
    masks: dict | None = None,
    dropout: Key[Array, ""] | None = None,
    activations: bool = False,
    approximations: dict | None = None,
    gates: dict | None = None,
) -> Outputs:
    """Runs a model on a batch.

    Args:
      config: the model's sizes.
      params: its parameters.
      batch: of `training.input.collate`.
      masks: the collection `masks` of a masked model.
      dropout: its key; None for none.
      activations: also return hidden states and attention scores. What of them is then not used is
        not computed either, under jit.
      approximations: the collection of that name, of `training.approximations`.
      gates: the collection of that name, of `training.importances`.
    """
    if gates and (packing := packing_of(batch)):
        gates = jax.tree.map(packing.by_token, gates)
    found: Any = models.build(config).apply(
        {
            "params": params,
            MASKS: masks or {},
            APPROXIMATIONS: approximations or {},
            GATES: gates or {},
        },
        **{each.name: batch[each.name] for each in models.inputs(config)},
        **({PACKED: batch[PACKED]} if PACKED in batch else {}),
        deterministic=dropout is None,
        hidden_states=activations,
        rngs=None if dropout is None else {"dropout": dropout},
        mutable=[INTERMEDIATES] if activations else False,
    )
    if not activations:
        return found
    outputs, collected = found
    sown = collected.get(INTERMEDIATES, {})

    def by_sublayer(name: str) -> dict[str, Array]:
        paths = {
            each.name: (*each.write.path[:-1], name) for each in models.describe(config).sublayers
        }
        return {key: at(sown, path)[0] for key, path in paths.items() if has(sown, path)}

    return outputs._replace(attention_scores=by_sublayer(SCORES), streams=by_sublayer(STREAM))


def packing_of(batch: Batch) -> Packing | None:
    """How a batch's rows lie in bins; None where they are padded."""
    return Packing.of(batch[PACKED], *batch[ATTENTION_MASK].shape) if PACKED in batch else None


def forward(
    config: Config,
    params: dict,
    batch: Batch,
    masks: dict | None = None,
    dropout: Key[Array, ""] | None = None,
) -> Float[Array, "batch *labels"]:
    """The logits that `apply` gives."""
    logits = apply(config, params, batch, masks, dropout).logits
    assert logits is not None, "the model has no head"
    return logits


def _logits_of(
    config: Config, layout: Layout, params: dict, masks: dict | None, batch: Batch
) -> jax.Array:
    params, masks = layout.collect((params, masks))
    with unrounded():
        return forward(config, params, batch, masks)


_logits = jax.jit(_logits_of, static_argnums=(0, 1))
_logits_as_written = jax.jit(
    _logits_of, static_argnums=(0, 1), compiler_options={"xla_disable_hlo_passes": "fusion"}
)
"""Each operation by itself, whose result then does not depend on what stands around it."""


def predict(
    config: Config,
    params: dict,
    batches: Iterable[Batch],
    masks: dict | None,
    layout: Layout = ONE_DEVICE,
) -> list[np.ndarray]:
    """Logits of every row, in the order of the features.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      masks: the `masks` collection of a masked model; None for a dense one.
      layout: where the batches are laid out, of which this process has its part.

    Returns:
      One array a row: `[num_labels]`, or of a head by token `[tokens, num_labels]`, its real ones.
    """
    rows = dict(predict_rows(config, params, batches, masks, layout))
    return [rows[index] for index in sorted(rows)]


def predict_rows(
    config: Config,
    params: dict,
    batches: Iterable[Batch],
    masks: dict | None,
    layout: Layout = ONE_DEVICE,
    *,
    as_written: bool = False,
) -> Iterator[tuple[int, np.ndarray]]:
    """The numbers of rows and their logits as they are computed, batch by batch: see `predict`.

    Args:
      config: as of `predict`.
      params: as of `predict`.
      batches: as of `predict`.
      masks: as of `predict`.
      layout: as of `predict`.
      as_written: operations are not fused, which is slower: two programs that compute the same then
        give the same to the last bit.
    """
    run = _logits_as_written if as_written else _logits
    head = HEADS[config.head]
    wanted = (INDEX, head.mask) if head.per_token else (INDEX,)
    params, masks = layout.shard((params, masks))
    for part in batches:
        batch = layout.batch(part)
        logits = np.asarray(gather(run(config, layout, params, masks, batch)), np.float32)
        told = {name: np.asarray(x) for name, x in gather({n: batch[n] for n in wanted}).items()}
        for place, index in enumerate(told[INDEX]):
            if index >= 0:
                length = told[head.mask][place].sum() if head.per_token else None
                yield int(index), logits[place][:length]
