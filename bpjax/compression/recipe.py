"""The config of a compression: what our comparison found best (results/README.md, Fisher)."""

from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from bpjax.compression.epochs import Epochs
from bpjax.config import default_config

NARROW = 512
"""Hidden size up to which a model takes large steps; MiniLM's is 384, that of BERT-base 768."""

CUT_SHARE = 0.6
"""Of the steps of fine-pruning, in which units go; in the rest the structure stays as it is."""


def make_config(
    model: str, task: str, options: dict[str, Any], *, is_new: bool, hidden: int, seed: int
) -> ConfigDict:
    """Everything but the lengths of stages and the budget.

    Args:
      model: that is compressed.
      task: its name.
      options: of the task.
      is_new: whether the model is fine-tuned first; else it is its own teacher.
      hidden: its hidden size.
      seed: of all random numbers.
    """
    config = default_config(task)
    config.task.update(options)
    config.seed = seed
    config.model.source = model
    config.model.training_dtype = "bfloat16_products"
    rate = 1e-4 if hidden <= NARROW else 3e-5
    if task == "embedding":  # which has no labels and no teacher of its own: see own_embedding.py
        rate = 2 * rate
        config.distillation.weight = 1.0
        config.distillation.similarity.prune = config.distillation.similarity.fill = 1.0
    else:
        config.distillation.replace.prune = config.distillation.replace.fill = 0.2
    config.teacher.source = "" if is_new else model
    config.teacher.learning_rate = rate
    config.pruning.method, config.pruning.pattern = "fisher", "struct"
    config.pruning.initial_warmup = 0.0
    config.budget.kind, config.budget.value = "density", 0.5  # until each run is given its own
    config.prune.start = "dense"
    config.prune.learning_rate = config.fill.learning_rate = rate
    config.distillation.hidden.prune = config.distillation.hidden.fill = 1.0
    config.measure.rounds = 40
    return config


def set_epochs(config: ConfigDict, epochs: Epochs, steps_per_epoch: int) -> None:
    """Sets how long stages train; without fine-pruning, what is cut at once is fitted."""
    config.teacher.epochs = max(1, epochs.teacher)
    config.prune.epochs, config.fill.epochs = epochs.prune, epochs.fill
    for section in (config.teacher, config.prune, config.fill):
        steps = section.epochs * steps_per_epoch
        section.warmup_steps = min(max(steps // 10, 1), 500) if steps > 1 else 0
    if epochs.prune:
        steps = epochs.prune * steps_per_epoch
        config.pruning.final_warmup = round((1 - CUT_SHARE) * steps / config.prune.warmup_steps, 2)
    else:
        config.prune.calibration_rows = 1024
        config.prune.rearrange, config.prune.reconstruct = True, "ridge"


def changes(config: ConfigDict) -> dict[str, Any]:
    """The fields of a config that differ from their defaults, by flat name."""
    flat, before = (
        traverse_util.flatten_dict(each.to_dict(), sep=".")
        for each in (config, default_config(config.task.name))
    )
    return {name: value for name, value in flat.items() if value != before[name]}
