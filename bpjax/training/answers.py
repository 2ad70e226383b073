"""What a model says of rows: logits, or of a head that generates the texts that it writes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bpjax import models
from bpjax.generation import generate
from bpjax.models.architecture import Config
from bpjax.models.generation import Generation
from bpjax.models.heads import HEADS
from bpjax.models.inputs import INDEX
from bpjax.models.layers.collections import MASKS
from bpjax.training.evaluation import Batch, predict
from bpjax.training.mesh import ONE_DEVICE, Layout, gather


def answers(
    config: Config,
    params: dict,
    batches: Iterable[Batch],
    tokenizer: Any,
    masks: dict | None = None,
    layout: Layout = ONE_DEVICE,
    changes: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Of every row, in the order of the features.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      tokenizer: of the model, for texts.
      masks: the `masks` collection of a masked model; None for a dense one.
      layout: where the batches are laid out, of which this process has its part.
      changes: fields of `Generation` that are not as the model was saved with.
    """
    if not HEADS[config.head].generates:
        return predict(config, params, batches, masks, layout)
    decoder = models.architecture(config).decoder
    assert decoder
    settings = decoder.settings(config).replace(**(changes or {}))
    tokens = write(config, params, batches, settings, masks, layout)
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)


def write(
    config: Config,
    params: dict,
    batches: Iterable[Batch],
    settings: Generation,
    masks: dict | None = None,
    layout: Layout = ONE_DEVICE,
) -> list[np.ndarray]:
    """The tokens that a model writes for each row, in the order of the features.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      settings: how the text is sought.
      masks: the `masks` collection of a masked model.
      layout: where the batches are laid out.
    """
    rows: dict[int, np.ndarray] = {}
    variables = layout.shard({"params": params, MASKS: masks or {}})
    for part in batches:
        batch = layout.batch(part)
        found = np.asarray(gather(generate(config, variables, batch, settings).tokens))
        for place, index in enumerate(np.asarray(gather(batch[INDEX]))):
            if index >= 0:
                rows[int(index)] = found[place]
    return [rows[index] for index in sorted(rows)]
