"""Ablation over block shapes on SST-2: what is left, at what speed and accuracy, for equal budgets.

Every cell trains on the rows of configs/sst2_short.py. The budget is the density of the linear
parameters after removal, so that patterns which remove little are pushed until they do.
Hybrid-filled fills the hybrid model of the same density and seed for one epoch more: beside it
stands hybrid pruned for as many epochs in all, and at the smaller density both with three seeds.

Command:  bpjax sweep experiments/block_shapes.py --workdir=runs/block_shapes
          bpjax report runs/block_shapes --plot=block_shapes.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher, and the hybrid runs before those that fill them.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
EPOCHS, FILL = 2, 1
# Name, pattern, block, epochs of fine-pruning, of filling what the pattern of that name left.
SHAPES = (
    ("hybrid", "hybrid", (32, 32), EPOCHS, 0),
    ("hybrid_longer", "hybrid", (32, 32), EPOCHS + FILL, 0),
    ("hybrid_filled", "hybrid", (32, 32), EPOCHS, FILL),
    ("struct", "struct", (32, 32), EPOCHS, 0),
    ("block4", "block", (4, 4), EPOCHS, 0),
    ("block16", "block", (16, 16), EPOCHS, 0),
    ("block32", "block", (32, 32), EPOCHS, 0),
)
# Density, seed, how many of the shapes.
CELLS = ((0.5, 17, 7), (0.25, 17, 7), (0.25, 18, 3), (0.25, 19, 3))


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for density, seed, count in CELLS:
        for name, pattern, block, epochs, fill in SHAPES[:count]:
            config = read_config(str(CONFIG), [])
            config.seed, config.budget.value = seed, density
            config.pruning.pattern, config.pruning.block = pattern, block
            config.prune.epochs, config.fill.epochs = epochs, fill
            end = f"{density:g}_seed{seed}"
            if fill:
                config.prune.source = str(workdir / f"{pattern}_{end}")
            runs.append((f"{name}_{end}", config))
    share_teacher(runs, workdir)
    return runs
