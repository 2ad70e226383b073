"""BERT-base on MNLI or QQP with the paper's GLUE recipe: hybrid, distillation, fill.

Its schedule takes more than 60,000 steps, which the smaller tasks, SST-2 among them, do not have.
Warm-up of fill and the dense model's training are not of the recipe.

Command:  bpjax run --config=configs/glue_hybrid.py --workdir=runs/mnli
          bpjax run --config=configs/glue_hybrid.py --workdir=runs/qqp --config.task.name=qqp
Hardware: one GPU; written for one H100-class card. Not for CPU: 147,000 steps of 32 × 128.
Expected: Lagunas et al. 2021 report, filled, accuracy 83.7/84.1 (matched/mismatched) on MNLI with
          34% of the linear parameters, 2.12 times faster, and 82.7/82.7 with 18%, 3.11 times
          faster; on QQP, hybrid, F1/accuracy 87.4/90.6 with 18%. Their λ are not known here: 10 is
          that of configs/squad_hybrid.py. bpjax has not run this config yet.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import default_config, read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("squad_hybrid.py")), [])
    config.task = default_config(task="mnli").task
    config.task.max_length = 128
    config.task.download = True
    config.batch.size = 32
    config.batch.buckets = (32, 64, 128)

    config.prune.epochs, config.prune.warmup_steps = 12, 12_000
    config.pruning.initial_warmup, config.pruning.final_warmup = 1.0, 4.0
    config.fill.epochs, config.fill.warmup_steps = 6, 6_000

    config.measure.shapes = ("1x128", "128x128")
    return config
