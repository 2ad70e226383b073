"""The small GLUE tasks, dense and at one budget: MRPC, RTE, CoLA, STS-B.

Command:  bpjax sweep experiments/glue.py --workdir=runs/glue
          bpjax report runs/glue
Hardware: 2 CPU cores, 20 to 30 minutes a task on one of them beside another run.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import default_config

TASKS = ("mrpc", "rte", "cola", "stsb")
DENSITY = 0.3


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    del workdir  # no run reads another's files
    return [(task, get_config(task)) for task in TASKS]


def get_config(task: str) -> ConfigDict:
    config = default_config(task=task)
    config.task.max_length = 128
    config.task.data_dir = "data"
    config.batch.size = 16  # RTE has 2,490 rows
    config.batch.buckets = (12, 24, 40, 64, 96, 128)  # each is compiled at every stage
    config.model.training_dtype = "bfloat16_products"
    config.teacher.epochs, config.teacher.warmup_steps = 4, 60
    config.teacher.learning_rate = 1e-4
    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.prune.start = "pretrained"
    config.prune.epochs, config.prune.warmup_steps = 5, 80
    config.prune.learning_rate = 1e-4
    config.budget.kind, config.budget.value = "density", DENSITY
    config.fill.epochs, config.fill.warmup_steps = 1, 30
    config.fill.learning_rate = 1e-4
    config.distillation.hidden.fill = 1.0
    return config
