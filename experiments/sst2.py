"""The headline on SST-2: configs/sst2_hybrid.py at two budgets, three seeds each, one teacher.

The smaller one is fine-pruned for two epochs, at twice the rates.

Command:  bpjax sweep experiments/sst2.py --workdir=runs/sst2
          bpjax report runs/sst2 --plot=pareto.png
Hardware: 2 CPU cores, 45 minutes a run. As a job array: --index=0 first, it trains the teacher.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_hybrid.py"

BUDGETS: dict[str, dict[str, Any]] = {
    "penalty20": {"budget.kind": "penalty", "budget.value": 20.0},
    "density0.115": {
        "budget.kind": "density",
        "budget.value": 0.115,
        "prune.epochs": 2,
        "prune.warmup_steps": 420,
        "prune.learning_rate": 1e-4,
        "prune.score_learning_rate": 2e-2,
    },
}
SEEDS = (17, 18, 19)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for name, changes in BUDGETS.items():
        for seed in SEEDS:
            config = read_config(str(CONFIG), [])
            config.seed = seed
            config.update_from_flattened_dict(changes)
            runs.append((f"{name}_seed{seed}", config))
    share_teacher(runs, workdir)
    return runs
