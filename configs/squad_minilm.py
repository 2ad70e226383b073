"""MiniLM on SQuAD v1.1, hybrid pruning with distillation, then fill.

Command:  bpjax data prepare squad --source=FOLDER_OF_THE_JSON_FILES --data_dir=data
          bpjax run --config=configs/squad_minilm.py --workdir=runs/squad_minilm
Hardware: 2 CPU cores.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="squad")
    config.task.data_dir = "data"
    config.batch.size = 16
    config.batch.buckets = (96, 128, 160, 192, 224, 256, 320, 384)

    config.teacher.epochs = 3
    config.teacher.learning_rate = 1e-4
    config.teacher.warmup_steps = 150

    config.prune.epochs = 6
    config.prune.learning_rate = 1e-4
    config.prune.warmup_steps = 300
    config.budget.value = 20.0

    config.fill.epochs = 3
    config.fill.learning_rate = 1e-4
    config.fill.warmup_steps = 100

    config.measure.shapes = ("1x128", "8x128", "8x384")
    return config
