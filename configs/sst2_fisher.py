"""MiniLM on 20,000 rows of SST-2, cut by Fisher importances while it trains, no fill.

From the dense model, which is also the teacher: twelve cuts in the first 60% of the steps, then the
rest with the structure as it is.

Command:  bpjax run --config=configs/sst2_fisher.py --workdir=runs/sst2_fisher
Hardware: 2 CPU cores, about 10 minutes with a given teacher (--config.teacher.source=MODEL_DIR).
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("sst2_short.py")), [])
    config.pruning.method, config.pruning.pattern = "fisher", "struct"
    config.pruning.initial_warmup = 0.0
    config.pruning.final_warmup = 4.0  # 500 of 1,250 steps
    config.prune.start = "dense"
    return config
