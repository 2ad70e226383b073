"""What a model says of rows: logits, or of a head that generates the texts that it writes."""

from collections.abc import Iterable, Mapping
from typing import Any

from bpjax.generation import decode, settings_of, write
from bpjax.models.architecture import Config
from bpjax.models.generation_files import override
from bpjax.models.heads import HEADS
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

    Raises:
      UserError: changes that the model cannot follow.
    """
    if not HEADS[config.head].generates:
        return predict(config, params, batches, masks, layout)
    settings = override(settings_of(config), changes or {})
    params, masks = layout.shard((params, masks))
    laid_out = (layout.batch(part) for part in batches)
    rows = write(config, params, laid_out, settings, masks, gather=gather)
    return decode(tokenizer, rows)
