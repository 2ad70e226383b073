"""Ablation over block shapes on SST-2: what is left, at what speed and accuracy, for equal budgets.

Every cell trains on the rows of configs/sst2_short.py. The budget is the density of the linear
parameters after removal, so that patterns which remove little are pushed until they do.
Two of four keeps half of the weights by definition, removes nothing and is not pushed; beside
movement's stand those by magnitude and, without training, by activations.
Hybrid-filled fills the hybrid model of the same density and seed for one epoch more: beside it
stands hybrid pruned for as many epochs in all, and at the smaller density both with three seeds.

Command:  bpjax sweep experiments/block_shapes.py --workdir=runs/block_shapes
          bpjax report runs/block_shapes --plot=block_shapes.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher, and the hybrid runs before those that fill them.
"""

from itertools import islice
from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
TWO_OF_FOUR = {
    "pruning.pattern": "unstructured",
    "budget.kind": "penalty",
    "budget.value": 0.0,
}
SHAPES = {  # what differs from hybrid
    "hybrid": {},
    "hybrid_longer": {"prune.epochs": 3},
    "hybrid_filled": {"fill.epochs": 1},
    "struct": {"pruning.pattern": "struct"},
    "block4": {"pruning.pattern": "block", "pruning.block": (4, 4)},
    "block16": {"pruning.pattern": "block", "pruning.block": (16, 16)},
    "block32": {"pruning.pattern": "block"},
    "unstructured": {"pruning.pattern": "unstructured"},
    "two_of_four": TWO_OF_FOUR | {"pruning.movement.binarizer": "n_m"},
    "two_of_four_magnitude": TWO_OF_FOUR
    | {"pruning.method": "magnitude", "pruning.magnitude.binarizer": "n_m"},
    "two_of_four_activation": TWO_OF_FOUR
    | {
        "pruning.method": "activation",
        "pruning.activation.binarizer": "n_m",
        "prune.epochs": 0,
    },
}
# Density, seed, how many of the shapes.
CELLS = ((0.5, 17, 11), (0.25, 17, 8), (0.25, 18, 3), (0.25, 19, 3))


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []
    for density, seed, count in CELLS:
        end = f"{density:g}_seed{seed}"
        for name, changes in islice(SHAPES.items(), count):
            config = read_config(str(CONFIG), [])
            config.seed, config.budget.value = seed, density
            config.update_from_flattened_dict(changes)
            if config.fill.epochs:
                config.prune.source = str(workdir / f"hybrid_{end}")
            runs.append((f"{name}_{end}", config))
    share_teacher(runs, workdir)
    return runs
