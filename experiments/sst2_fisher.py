"""SST-2 by Fisher importances: three families of ever faster models, with one dense model.

Each run goes on from the model of the run before it, with its own rest of training, and learns from
the dense model. The budget is a speedup at 8x128, measured sublayer by sublayer on this device.

Command:  bpjax sweep experiments/sst2_fisher.py --workdir=runs/sst2_fisher
          bpjax report runs/sst2_fisher --plot=pareto.png
Hardware: 2 CPU cores, 20 to 40 minutes a run. In this order: each run of a seed needs the one
          before it.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import family

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_fisher.py"
SPEEDUPS = (4, 6, 10)
SEEDS = (17, 18, 19)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return family(CONFIG, "speedup", SPEEDUPS, SEEDS, workdir)
