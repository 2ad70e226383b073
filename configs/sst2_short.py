"""MiniLM on 20,000 rows of SST-2 for two epochs, no fill: what sweeps change and compare.

Command:  bpjax run --config=configs/sst2_short.py --workdir=runs/sst2_short
Hardware: 2 CPU cores, about 10 minutes with a given teacher (--config.teacher.source=MODEL_DIR).
Expected: dense 88.76% accuracy; 84.29% (mean of seeds 17 to 19) with 25% of the linear parameters,
          4.1 times faster at 8x128 (results/block_shapes).
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("sst2_hybrid.py")), [])
    config.task.limit = 20_000
    config.batch.buckets = (8, 12, 16, 24, 40, 64)  # each is compiled for every pattern
    config.budget.kind, config.budget.value = "density", 0.25
    config.prune.epochs, config.prune.warmup_steps = 2, 125
    config.prune.learning_rate = 1e-4  # twice that of four epochs
    config.fill.epochs, config.fill.warmup_steps = 0, 62
    return config
