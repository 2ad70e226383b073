"""Ablation over block shapes on a part of SQuAD: F1 and speed for equal densities.

Hybrid-filled is hybrid and then an epoch of fill: its report has the metrics before and after.
It has three seeds, and beside it stands hybrid pruned for as many epochs in all.

Command:  bpjax sweep experiments/squad_block_shapes.py --workdir=runs/squad_block_shapes
          bpjax report runs/squad_block_shapes --plot=squad_block_shapes.png
Hardware: 2 CPU cores, 20 to 28 minutes a run on one core. As a job array: --index=0 first, it
          trains the teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import at_densities

CONFIG = Path(__file__).parents[1] / "configs" / "squad_short.py"
DENSITIES = (0.5, 0.25)
SHAPES = {
    "hybrid_filled": {"fill.epochs": 1},
    "struct": {"pruning.pattern": "struct"},
    "block4": {"pruning.pattern": "block", "pruning.block": (4, 4)},
    "block16": {"pruning.pattern": "block", "pruning.block": (16, 16)},
    "block32": {"pruning.pattern": "block", "pruning.block": (32, 32)},
    "hybrid_longer": {"prune.epochs": 3},  # the epoch that hybrid-filled has for fill
}
SEEDS = (18, 19)  # of hybrid-filled, beside 17


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    seeds = {f"hybrid_filled_seed{i}": SHAPES["hybrid_filled"] | {"seed": i} for i in SEEDS}
    return at_densities(CONFIG, SHAPES | seeds, DENSITIES, workdir)
