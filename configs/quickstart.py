"""The main job on the embedded task: MiniLM learns to answer, then loses two thirds of itself.

Command:  make quickstart
Hardware: 2 CPU cores (9 minutes in all on a free 2-core AMD EPYC, installation included).
Expected: F1 89 dense, 90 pruned (fill trains longer than the teacher), 31% of the linear
          parameters left, 3 times faster at 8x128.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="embedded")
    config.task.train_size = 2000
    config.task.eval_size = 200
    config.batch.size = 8
    config.batch.buckets = (72, 112)

    config.teacher.epochs = 1
    config.teacher.learning_rate = 2e-4
    config.teacher.warmup_steps = 30

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.budget.kind = "penalty"
    config.prune.start = "pretrained"
    # So short a run moves scores far enough only with a large learning rate and a large λ.
    config.prune.epochs = 1
    config.prune.learning_rate = 2e-4
    config.prune.score_learning_rate = 0.1
    config.prune.warmup_steps = 30
    config.pruning.final_warmup = 2.0
    config.budget.value = 200.0

    config.fill.epochs = 1
    config.fill.learning_rate = 2e-4
    config.fill.warmup_steps = 10
    return config
