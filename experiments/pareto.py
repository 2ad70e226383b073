"""Metric against density and speed on SST-2: methods and patterns side by side.

In the workdir of experiments/methods.py half of its runs are done already.

Command:  bpjax sweep experiments/pareto.py --workdir=runs/pareto
          bpjax report runs/pareto --plot=pareto.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import at_densities

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
DENSITIES = (0.5, 0.25, 0.1)
SERIES = {
    "movement": {},
    "movement_struct": {"pruning.pattern": "struct"},
    "magnitude": {"pruning.method": "magnitude"},
    "magnitude_struct": {"pruning.method": "magnitude", "pruning.pattern": "struct"},
}


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return at_densities(CONFIG, SERIES, DENSITIES, workdir)
