"""All pruning methods on SST-2 at the same densities: one teacher, the same rows and epochs.

Every run prunes in the hybrid pattern but CoFi's, which has its own. Knowledge-aware pruning (Xu
et al. 2021) is magnitude that also learns from the teacher's hidden states and attention scores.
Activation-aware pruning does not train. CoFi's gates learn at 0.1, the other scores at 0.01.

Command:  bpjax sweep experiments/methods.py --workdir=runs/methods
          bpjax report runs/methods --plot=methods.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import at_densities

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
DENSITIES = (0.5, 0.25, 0.1)
METHODS = {
    "movement": {},
    "movement_top_k": {"pruning.movement.binarizer": "top_k"},
    "magnitude": {"pruning.method": "magnitude"},
    "knowledge_aware": {
        "pruning.method": "magnitude",
        "pruning.magnitude.permanent": True,
        "distillation.hidden.prune": 1.0,
        "distillation.attention.prune": 1.0,
    },
    "l0": {"pruning.method": "l0"},
    "group_lasso": {"pruning.method": "group_lasso"},
    "cofi": {
        "pruning.method": "cofi",
        "pruning.pattern": "cofi",
        "prune.score_learning_rate": 0.1,
        "distillation.layers.prune": 1.0,
    },
    "activation": {"pruning.method": "activation", "prune.epochs": 0},
}


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    return at_densities(CONFIG, METHODS, DENSITIES, workdir)
