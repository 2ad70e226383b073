"""One line of ever smaller models: SST-2 pruned by Fisher importances to 2, 3, 5 and 10 times.

Each run goes on from the model of the run before it, with its own rest of training, and all learn
from the dense model. The smaller the model, the shorter its run.

Command:  bpjax sweep experiments/fisher_family.py --workdir=runs/fisher_family
          bpjax report runs/fisher_family --plot=family.png
Hardware: 2 CPU cores. In this order: each run needs the one before it.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import family

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_fisher.py"
SPEEDUPS = (2, 3, 5, 10)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return family(CONFIG, "speedup", SPEEDUPS, workdir)
