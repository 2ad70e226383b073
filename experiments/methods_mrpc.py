"""The methods of experiments/methods.py on MRPC at 25%, and Fisher pruning without training.

Five epochs of fine-pruning from one dense model and teacher, no fill; at once the importances are
of 1,024 training rows, units are exchanged and sublayers fitted.

Command:  bpjax sweep experiments/methods_mrpc.py --workdir=runs/methods_mrpc
          bpjax report runs/methods_mrpc
Hardware: 2 CPU cores, about 15 minutes a run, at once 2. As a job array: --index=0 first, it trains
          the teacher.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from bpjax.sweep import share_teacher

HERE = Path(__file__).parent
COMPARED = runpy.run_path(str(HERE / "methods.py"))["ALIKE"]
get_config = runpy.run_path(str(HERE / "glue.py"))["get_config"]
SEEDS = (17, 18, 19)
DENSITY = 0.25
AT_ONCE = (0.6, 0.5, 0.4, 0.3)
HELD = 5.75  # times the 80 steps of warm-up: 40% of the steps


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    runs: list[tuple[str, ConfigDict]] = []

    def add(name: str, method: str, density: float, seed: int = 17) -> ConfigDict:
        config = get_config("mrpc")
        config.seed, config.fill.epochs, config.budget.value = seed, 0, density
        config.update_from_flattened_dict(COMPARED[method])
        if method == "fisher":
            config.pruning.final_warmup = HELD
        runs.append((name, config))
        return config

    for density in AT_ONCE:
        config = add(f"at_once_{density:g}", "fisher", density)
        config.prune.epochs, config.prune.calibration_rows = 0, 1024
        config.prune.rearrange, config.prune.reconstruct = True, "ridge"
    for seed in SEEDS:
        for method in COMPARED:
            add(f"{method}_{DENSITY:g}_seed{seed}", method, DENSITY, seed)
    share_teacher(runs, workdir)
    return runs
