"""Ablation over block shapes on SST-2: what is left, at what speed and accuracy, for equal budgets.

Every cell trains on the same 20,000 rows for the same epochs. The budget is the density of the
linear parameters after removal, so that patterns which remove little are pushed until they do.

Command:  bpjax sweep experiments/block_shapes.py --workdir=runs/block_shapes
          bpjax report runs/block_shapes --plot=block_shapes.png
Hardware: 2 CPU cores, about 20 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_hybrid.py"
ROWS = 20_000
DENSITIES = (0.5, 0.25)
# Name, pattern, block, epochs of fill.
SHAPES = (
    ("hybrid", "hybrid", (32, 32), 0),
    ("hybrid_filled", "hybrid", (32, 32), 2),
    ("struct", "struct", (32, 32), 0),
    ("block4", "block", (4, 4), 0),
    ("block16", "block", (16, 16), 0),
    ("block32", "block", (32, 32), 0),
)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for density in DENSITIES:
        for name, pattern, block, fill in SHAPES:
            config = read_config(str(CONFIG), [])
            config.task.limit = ROWS
            config.pruning.pattern, config.pruning.block = pattern, block
            config.budget.kind, config.budget.value = "density", density
            config.prune.warmup_steps = 250
            config.fill.epochs, config.fill.warmup_steps = fill, 125
            runs.append((f"{name}_{density:g}", config))
    share_teacher(runs, workdir)
    return runs
