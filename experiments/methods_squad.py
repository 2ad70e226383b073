"""The methods of experiments/methods.py on SQuAD v1.1 at 25%, and Fisher pruning without training.

Three epochs of fine-pruning from one dense model and teacher, no fill; at once the importances are
of 1,024 training windows, units are exchanged and sublayers fitted. Runs named `taught` also learn
from hidden states and exchanged tokens, for the five epochs that configs/squad_minilm.py takes with
fill, and are asked for a speed at 8x128, measured on this device.

Command:  bpjax sweep experiments/methods_squad.py --workdir=runs/methods_squad
          bpjax report runs/methods_squad
Hardware: one GPU, about a minute a run. As a job array: --index=0 first, it trains the teacher.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config
from bpjax.sweep import share_teacher

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "squad_minilm.py"
SHARED = runpy.run_path(str(HERE / "methods.py"))
COMPARED, TAUGHT = SHARED["ALIKE"], SHARED["TAUGHT"]
SEEDS = (17, 18, 19)
DENSITY = 0.25
AT_ONCE = (0.6, 0.5, 0.4, 0.3)
SPEEDUPS = (2.5, 3.5)


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []

    def add(name: str, method: str, value: float, seed: int = 17) -> ConfigDict:
        config = read_config(str(CONFIG), [])
        config.seed, config.fill.epochs, config.budget.value = seed, 0, value
        config.update_from_flattened_dict(COMPARED[method])
        runs.append((name, config))
        return config

    for density in AT_ONCE:
        config = add(f"at_once_{density:g}", "fisher", density)
        config.prune.epochs, config.prune.calibration_rows = 0, 1024
        config.prune.rearrange, config.prune.reconstruct = True, "ridge"
    for method in COMPARED:
        add(f"{method}_{DENSITY:g}", method, DENSITY)
    for value in SPEEDUPS:
        for seed in SEEDS:
            config = add(f"taught_speedup{value:g}_seed{seed}", "fisher", value, seed)
            config.budget.kind = "speedup"
            config.prune.epochs, config.pruning.final_warmup = 5, 7.0  # 40% of the steps
            config.update_from_flattened_dict(TAUGHT)
    share_teacher(runs, workdir)
    return runs
