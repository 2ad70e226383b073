"""BERT-base on SQuAD v1.1 with the paper's recipe: hybrid, distillation, fill.

Command:  bpjax run --config=configs/squad_hybrid.py --workdir=runs/squad
Hardware: one GPU; written for one H100-class card. Not for CPU: 110,000 steps of 16 × 384.
Expected: Lagunas et al. 2021 report F1 87.15 for hybrid at this λ, with 18% of the linear
          parameters left, 2.26 times faster; filled models of that speed reach 87.7. bpjax has not
          run this config yet.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="squad")
    config.model.source = "bert-base-uncased"
    config.model.dtype = config.model.training_dtype = "bfloat16"
    config.task.download = True
    config.batch.size = 16
    config.batch.buckets = (128, 192, 256, 384)

    config.teacher.epochs = 2
    config.teacher.learning_rate = 3e-5
    config.teacher.warmup_steps = 1100

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.budget.kind = "penalty"
    config.prune.start = "pretrained"
    config.prune.epochs = 20
    config.prune.learning_rate = 3e-5
    config.prune.score_learning_rate = 1e-2
    config.prune.warmup_steps = 5400
    config.pruning.initial_warmup = 1.0
    config.pruning.final_warmup = 10.0
    config.budget.value = 10.0

    config.fill.epochs = 10
    config.fill.learning_rate = 3e-5
    config.fill.warmup_steps = 2700

    config.measure.shapes = ("1x384", "128x384")
    config.log_every = 100
    config.checkpoint_every = 2000
    return config
