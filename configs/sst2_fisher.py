"""MiniLM on SST-2, cut by Fisher importances while it trains, no fill.

From the dense model, which is also the teacher, of its logits and hidden states, also on rows with
exchanged tokens: twelve cuts in the first 60% of the steps, then the rest with the structure as it
is.

Command:  bpjax run --config=configs/sst2_fisher.py --workdir=runs/sst2_fisher
Hardware: 2 CPU cores, about 45 minutes with a given teacher (--config.teacher.source=MODEL_DIR).
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("sst2_hybrid.py")), [])
    config.batch.buckets = (8, 12, 16, 24, 40, 64)  # each is compiled for every pattern
    config.budget.kind, config.budget.value = "density", 0.22
    config.pruning.method, config.pruning.pattern = "fisher", "struct"
    config.prune.start = "dense"
    config.prune.epochs, config.prune.warmup_steps = 3, 421
    config.prune.learning_rate = 1e-4
    config.pruning.initial_warmup = 0.0
    config.pruning.final_warmup = 6.0  # 40% of the steps
    config.distillation.hidden.prune = 1.0
    config.distillation.replace.prune = 0.2
    config.fill.epochs, config.fill.warmup_steps = 0, 62
    return config
