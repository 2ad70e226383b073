"""SST-2 without training: Fisher importances of 1,024 rows, then units exchanged, then fitted.

Command:  bpjax sweep experiments/at_once.py --workdir=runs/at_once
          bpjax report runs/at_once --plot=at_once.png
Hardware: 2 CPU cores, 1 to 3 minutes a run after the dense model's. As a job array: --index=0
          first, it trains the dense model.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bpjax.sweep import at_densities

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_fisher.py"
DENSITIES = (0.6, 0.5, 0.4, 0.3)
AT_ONCE: dict[str, Any] = {"prune.epochs": 0, "prune.calibration_rows": 1024}
VARIANTS = {
    "fisher": AT_ONCE,
    "rearranged": {**AT_ONCE, "prune.rearrange": True},
    "fitted": {**AT_ONCE, "prune.rearrange": True, "prune.reconstruct": "ridge"},
}


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return at_densities(CONFIG, VARIANTS, DENSITIES, workdir)
