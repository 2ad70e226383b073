"""The headline on SST-2: configs/sst2_hybrid.py at two penalties, three seeds each, one teacher.

Command:  bpjax sweep experiments/sst2.py --workdir=runs/sst2
          bpjax report runs/sst2 --plot=pareto.png
Hardware: 2 CPU cores, 45 minutes a run. As a job array: --index=0 first, it trains the teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_hybrid.py"

PENALTIES = (20.0, 50.0)
SEEDS = (17, 18, 19)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for penalty in PENALTIES:
        for seed in SEEDS:
            config = read_config(str(CONFIG), [])
            config.seed = seed
            config.budget.value = penalty
            runs.append((f"penalty{penalty:g}_seed{seed}", config))
    share_teacher(runs, workdir)
    return runs
