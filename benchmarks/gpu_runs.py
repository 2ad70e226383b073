"""The paper's whole schedules for MiniLM on one GPU, one run after the other.

Command:  python -m benchmarks.gpu_runs --workdir=runs/gpu --data_dir=data
          python -m benchmarks.gpu_runs --workdir=runs/gpu --model=FOLDER --runs=squad_struct
Hardware: one GPU; written for 8 minutes of an H100, which it has not had yet. A run that would
          begin after --minutes is left out, and the same command goes on from there.

All runs of a task have one teacher, the first's, and share tokenised rows and compiled programs.
Each has its report in a folder of its own as soon as it ends; `bpjax report WORKDIR` compares them.
Nothing but the core install is needed.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from bpjax.config import read_config
from bpjax.pipeline import run
from bpjax.runtime import configure_runtime

CONFIGS = Path(__file__).parents[1] / "configs"

SST2 = {"batch.buckets": (64,), "prune.epochs": 12, "prune.warmup_steps": 2526}
SQUAD = {"batch.buckets": (384,), "prune.epochs": 20, "prune.warmup_steps": 1000}
QUARTER = {"budget.kind": "density", "budget.value": 0.25}

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "sst2_hybrid": ("sst2_hybrid.py", SST2),
    "squad_hybrid": ("squad_minilm.py", SQUAD | QUARTER),
    "squad_block": ("squad_minilm.py", SQUAD | QUARTER | {"pruning.pattern": "block"}),
    "squad_struct": ("squad_minilm.py", SQUAD | QUARTER | {"pruning.pattern": "struct"}),
}
"""By name: a config, and what is other than there."""


def main() -> None:
    """Runs those that are asked for and fit the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--model", default="", help="a folder (default: the configs' package)")
    parser.add_argument("--runs", default=",".join(RUNS), help="some of the default's")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    configure_runtime()
    started = time.perf_counter()
    for name in options.runs.split(","):
        if time.perf_counter() - started > 60 * options.minutes:
            print(f"{name}: left out, {options.minutes:g} minutes are over")
            continue
        begun = time.perf_counter()
        config = _config(name, options)
        report = run(config, options.workdir / name, f"python -m benchmarks.gpu_runs --runs={name}")
        shares = {stage: f"{share:.0%}" for stage, share in report["compiling"].items()}
        print(f"{name}: {time.perf_counter() - begun:.0f} s, compiling {shares}", flush=True)


def _config(name: str, options: argparse.Namespace) -> Any:
    file, changes = RUNS[name]
    asked = {"task.data_dir": options.data_dir, "model.training_dtype": "bfloat16", **changes}
    if options.model:
        asked["model.source"] = options.model
    first = next(other for other, (same, _) in RUNS.items() if same == file)
    dense = options.workdir / first / "teacher" / "model"
    if name != first and dense.exists():
        asked["teacher.source"] = dense
    fields = [f"{field}={value}" for field, value in asked.items()]
    return read_config(str(CONFIGS / file), [f"--config.{x}" for x in (*fields, *options.set)])


if __name__ == "__main__":
    main()
