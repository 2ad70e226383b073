"""The small GLUE tasks, dense and at one budget: MRPC, RTE, CoLA, STS-B.

Command:  bpjax sweep experiments/glue.py --workdir=runs/glue
          bpjax report runs/glue
Hardware: 2 CPU cores; not run yet.
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
    config.batch.buckets = (8, 12, 16, 24, 32, 48, 64, 96, 128)
    config.model.training_dtype = "bfloat16_products"
    config.teacher.epochs, config.teacher.warmup_steps = 4, 40
    config.prune.epochs, config.prune.warmup_steps = 8, 100
    config.budget.kind, config.budget.value = "density", DENSITY
    config.fill.epochs, config.fill.warmup_steps = 2, 40
    config.fill.learning_rate = 1e-4
    config.distillation.hidden.fill = 1.0
    return config
