"""MiniLM on SQuAD v1.1, hybrid pruning with distillation, then fill.

Command:  bpjax data prepare squad --source=FOLDER_OF_THE_JSON_FILES --data_dir=data
          bpjax run --config=configs/squad_minilm.py --workdir=runs/squad_minilm
Hardware: 2 CPU cores; 2:50 hours on one core of an AMD EPYC beside other work, with the 8,200 of
          the 87,599 training questions.
Expected: with those, F1 69 dense, 66 pruned to 30% of the linear parameters, 2.6 times faster at
          8x128 (results/squad).
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="squad")
    config.task.data_dir = "data"
    config.batch.size = 16
    config.batch.buckets = (128, 160, 192, 256, 384)
    config.model.training_dtype = "bfloat16_products"
    config.evaluate_every = 100_000  # at a stage's end alone: the dev set takes minutes
    config.checkpoint_every = 200

    config.teacher.epochs = 2
    config.teacher.learning_rate = 1e-4
    config.teacher.warmup_steps = 100

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.prune.start = "pretrained"
    config.prune.epochs = 3
    config.prune.learning_rate = 1e-4
    config.prune.score_learning_rate = 3e-2
    config.prune.warmup_steps = 150
    config.budget.kind = "density"
    config.budget.value = 0.3

    config.fill.epochs = 2
    config.fill.learning_rate = 1e-4
    config.fill.warmup_steps = 100

    config.measure.shapes = ("1x128", "8x128", "8x384")
    return config
