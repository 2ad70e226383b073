"""MiniLM on SST-2, hybrid pruning with distillation, then fill.

Command:  bpjax run --config=configs/sst2_hybrid.py --workdir=runs/sst2
Hardware: 2 CPU cores, about 50 minutes with a given teacher (--config.teacher.source=MODEL_DIR).
Expected: dense 89.45% accuracy; 88.57% (mean of seeds 17 to 19) with 21% of the linear parameters,
          4.0 times faster at 8x128 (results/sst2).
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="sst2")
    config.task.max_length = 64
    config.task.data_dir = "data"
    config.batch.buckets = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
    config.model.training_dtype = "bfloat16_products"
    config.teacher.warmup_steps = 420

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.budget.kind = "penalty"
    config.prune.start = "pretrained"
    config.prune.epochs = 4
    config.prune.warmup_steps = 842
    config.budget.value = 20.0

    config.fill.epochs = 3
    config.fill.learning_rate = 1e-4
    config.fill.warmup_steps = 630
    config.distillation.hidden.fill = 1.0
    config.distillation.replace.fill = 0.2
    return config
