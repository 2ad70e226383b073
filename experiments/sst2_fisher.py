"""SST-2 by Fisher importances: three families of ever smaller models, with one dense model.

Each run goes on from the model of the run before it, with its own rest of training, and learns from
the dense model. The smaller the model, the shorter its run.

Command:  bpjax sweep experiments/sst2_fisher.py --workdir=runs/sst2_fisher
          bpjax report runs/sst2_fisher --plot=pareto.png
Hardware: 2 CPU cores. In this order: each run of a seed needs the one before it.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import family

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_fisher.py"
DENSITIES = (0.22, 0.115, 0.07)
SEEDS = (17, 18, 19)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return family(CONFIG, "density", DENSITIES, SEEDS, workdir)
