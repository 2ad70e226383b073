"""MiniLM on 3,000 questions of SQuAD v1.1, another 1,000 held out: what sweeps change and compare.

The evaluated questions come from passages of the training split of which nothing is trained on, so
that what is chosen here is not chosen on the development split.

Command:  bpjax run --config=configs/squad_short.py --workdir=runs/squad_short
Hardware: 2 CPU cores, about 40 minutes on one of them beside another run.
Expected: F1 59.55 dense; with --config.budget.value=0.5 53.43, with 0.25 39.15
          (means of seeds 17 to 19, results/squad_block_shapes).
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("squad_minilm.py")), [])
    config.task.limit, config.task.holdout = 3_000, 1_000
    config.batch.size = 8
    config.prune.epochs, config.prune.warmup_steps = 2, 75
    config.fill.epochs, config.fill.warmup_steps = 0, 40
    config.measure.shapes = ("8x128", "8x384")
    return config
