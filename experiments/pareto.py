"""Metric against density and speed on SST-2: methods and patterns side by side.

In the workdir of experiments/methods.py half of its runs are done already.

Command:  bpjax sweep experiments/pareto.py --workdir=runs/pareto
          bpjax report runs/pareto --plot=pareto.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
DENSITIES = (0.5, 0.25, 0.1)
SERIES = (
    ("movement", "movement", "hybrid"),
    ("movement_struct", "movement", "struct"),
    ("magnitude", "magnitude", "hybrid"),
    ("magnitude_struct", "magnitude", "struct"),
)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for name, method, pattern in SERIES:
        for density in DENSITIES:
            config = read_config(str(CONFIG), [])
            config.pruning.method, config.pruning.pattern = method, pattern
            config.budget.value = density
            runs.append((f"{name}_{density:g}", config))
    share_teacher(runs, workdir)
    return runs
