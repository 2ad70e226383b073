"""MiniLM on sentences of your own, a tag for each word, by Fisher importances, then fill.

Command:  bpjax run --config=configs/own_tokens.py --workdir=runs/own --config.task.data=train.conll
Hardware: any; on 2 CPU cores minutes for a thousand sentences.
Expected: depends on the table. Fewer than 800 sentences need more epochs or fewer warm-up steps.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="tokens")
    config.task.max_length = 128
    config.batch.buckets = (8, 16, 24, 32, 48, 64, 96, 128)
    config.teacher.epochs = 4
    config.prune.epochs = 6
    config.prune.learning_rate = 1e-4
    config.prune.warmup_steps = 50
    config.budget.value = 0.3
    config.fill.epochs = 3
    config.fill.learning_rate = 1e-4
    config.distillation.hidden.prune = config.distillation.hidden.fill = 1.0
    config.distillation.replace.prune = config.distillation.replace.fill = 0.2
    return config
