"""Metric against density and speed on SST-2: methods and patterns side by side.

Every point trains on the same 20,000 rows for the same epochs.

Command:  bpjax sweep experiments/pareto.py --workdir=runs/pareto
          bpjax report runs/pareto --plot=pareto.png
Hardware: 2 CPU cores, about 20 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_hybrid.py"
ROWS = 20_000
DENSITIES = (0.6, 0.4, 0.25, 0.12)
SERIES = (
    ("movement", "hybrid"),
    ("movement", "struct"),
    ("magnitude", "hybrid"),
    ("magnitude", "struct"),
)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for method, pattern in SERIES:
        for density in DENSITIES:
            config = read_config(str(CONFIG), [])
            config.task.limit = ROWS
            config.pruning.method, config.pruning.pattern = method, pattern
            config.budget.kind, config.budget.value = "density", density
            config.prune.warmup_steps = 250
            config.fill.warmup_steps = 125
            runs.append((f"{method}_{pattern}_{density:g}", config))
    share_teacher(runs, workdir)
    return runs
