"""All pruning methods on SST-2 at the same densities: one teacher, the same rows and epochs.

Every run prunes in the hybrid pattern but CoFi's, which has its own, and those that name struct.
Knowledge-aware pruning (Xu et al. 2021) is magnitude that also learns from the teacher's hidden
states and attention scores. Activation-aware pruning does not train. CoFi's gates learn at 0.1, the
other scores at 0.01. Runs named `dense` start from the dense model, their teacher, and so does
Fisher pruning, which refuses a new head; the others start from the pretrained model. Fisher pruning
is also asked for speeds, measured at 8x128 on this device.

Command:  bpjax sweep experiments/methods.py --workdir=runs/methods
          bpjax report runs/methods --plot=methods.png
Hardware: 2 CPU cores, about 10 minutes a run. As a job array: --index=0 first, it trains the
          teacher.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bpjax.sweep import at_densities, share_teacher

CONFIG = Path(__file__).parents[1] / "configs" / "sst2_short.py"
DENSITIES = (0.5, 0.25, 0.1)
SPEEDUPS = (2.0, 4.0, 8.0)
SEEDS = (18, 19)  # beside 17, at 25% and at 4 times

METHODS: dict[str, dict[str, Any]] = {
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

DENSE = {"prune.start": "dense"}
FISHER = {
    "pruning.method": "fisher",
    "pruning.pattern": "struct",
    "pruning.initial_warmup": 0.0,
    "pruning.final_warmup": 4.0,  # 40% of the steps
    **DENSE,
}
STRUCT = {"pruning.method": "magnitude", "pruning.pattern": "struct"}
COMPARED: dict[str, dict[str, Any]] = {
    "fisher": FISHER,
    "movement_dense": DENSE,
    "cofi_dense": METHODS["cofi"] | DENSE,
    "magnitude_dense": METHODS["magnitude"] | DENSE,
    "magnitude_struct": STRUCT,
    "magnitude_struct_dense": STRUCT | DENSE,
}
"""Beside the methods above, each from the start that it lacks there."""

ALIKE = {name: METHODS[name] for name in ("movement", "cofi", "magnitude")} | COMPARED
TAUGHT = {"distillation.hidden.prune": 1.0, "distillation.replace.prune": 0.2}
"""What `configs/sst2_fisher.py` learns from beside logits."""


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    taught = {f"{name}_taught": ALIKE[name] | TAUGHT for name in ("fisher", "movement_dense")}
    fast = FISHER | {"budget.kind": "speedup"}
    runs = at_densities(CONFIG, METHODS | COMPARED | taught, DENSITIES, workdir)
    runs += at_densities(CONFIG, {"fisher_speedup": fast}, SPEEDUPS, workdir)
    for seed in SEEDS:
        again = {f"{k}_seed{seed}": v | {"seed": seed} for k, v in (ALIKE | taught).items()}
        runs += at_densities(CONFIG, again, (0.25,), workdir)
        again = {f"fisher_speedup_seed{seed}": fast | {"seed": seed}}
        runs += at_densities(CONFIG, again, (4.0,), workdir)
    share_teacher(runs, workdir)
    return runs
