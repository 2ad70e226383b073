"""The headline on SST-2: configs/sst2_hybrid.py at two budgets, three seeds each, one teacher.

Command:  bpjax sweep experiments/sst2.py --workdir=runs/sst2
          bpjax report runs/sst2 --plot=pareto.png
Hardware: 2 CPU cores, 45 minutes a run. As a job array: --index=0 first, it trains the teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_hybrid.py"

BUDGETS = (("penalty", 20.0), ("density", 0.115))
SEEDS = (17, 18, 19)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for kind, value in BUDGETS:
        for seed in SEEDS:
            config = read_config(str(CONFIG), [])
            config.seed = seed
            config.budget.kind, config.budget.value = kind, value
            runs.append((f"{kind}{value:g}_seed{seed}", config))
    share_teacher(runs, workdir)
    return runs
