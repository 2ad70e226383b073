"""One run, many models: SST-2 fine-pruned once, cut at several densities, each model then filled.

The masks are nested, and every model after the first takes a fill alone. Beside them stand the runs
of experiments/block_shapes.py, which fine-prune for each density.

Command:  bpjax sweep experiments/family.py --workdir=runs/family
          bpjax report runs/family --plot=family.png
Hardware: 2 CPU cores, about 5 minutes a model after the first. As a job array: --index=0 first.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
DENSITIES = (0.5, 0.35, 0.25, 0.15)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for density in DENSITIES:
        config = read_config(str(CONFIG), [])
        config.budget.value, config.fill.epochs = density, 1
        if runs:
            config.prune.source = str(workdir / runs[0][0])
        runs.append((f"density{density:g}", config))
    share_teacher(runs, workdir)
    return runs
