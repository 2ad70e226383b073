"""One config at several budgets and seeds, sharing one dense teacher: mean ± standard deviation.

A finished run is not run again, and an interrupted one goes on, so the same command resumes.

Command:  python experiments/seeds.py --config=configs/sst2_hybrid.py --workdir=runs/sst2 \
              --budgets=20,80 --seeds=17,18,19
Hardware: 2 CPU cores; about an hour a run.
"""

import argparse
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bpjax.config import read_config
from bpjax.pipeline import run
from bpjax.report.table import align
from bpjax.runtime import configure_runtime

KEPT = ("report.json", "scalars.jsonl", "masks.png", "curves.png")


def main() -> None:
    """Runs every budget with every seed, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--budgets", required=True, help="values of budget.value, comma separated")
    parser.add_argument("--seeds", required=True, help="comma separated")
    parser.add_argument("--results", type=Path, help="copy reports, curves and plots here")
    options, overrides = parser.parse_known_args()

    configure_runtime()
    teacher = ""
    reports: dict[str, list[dict[str, Any]]] = {}
    for seed in map(int, options.seeds.split(",")):
        for budget in map(float, options.budgets.split(",")):
            name = f"budget{budget:g}_seed{seed}"
            changes = [
                f"--config.seed={seed}",
                f"--config.budget.value={budget}",
                f"--config.distillation.cache={options.workdir.absolute() / 'teacher_logits'}",
                *overrides,
            ]
            if teacher:
                changes.append(f"--config.teacher.source={teacher}")
            workdir = options.workdir / name
            config = read_config(options.config, changes)
            command = f"bpjax run --config={options.config} --workdir={workdir} " + " ".join(
                changes
            )
            reports.setdefault(f"{budget:g}", []).append(run(config, workdir, command))
            # The first run trained it; the others read it.
            teacher = teacher or str(workdir / "teacher" / "model")
            if options.results:
                _keep(workdir, options.results / name)
    print(format_seeds(reports))


def format_seeds(reports: dict[str, list[dict[str, Any]]]) -> str:
    """A table of reports by budget: dense metric, pruned metrics over the seeds, density, speed."""
    first = next(iter(reports.values()))[0]
    metric = next(iter(first["dense"]["metrics"]))
    shapes = list(first["speedup"])
    rows = [("budget", "seeds", f"dense {metric}", metric, "density", *shapes)]
    for budget, runs in reports.items():
        rows.append(
            (
                budget,
                ", ".join(str(report["seed"]) for report in runs),
                _spread([report["dense"]["metrics"][metric] for report in runs]),
                _spread([report["pruned"]["metrics"][metric] for report in runs]),
                _spread([100 * report["density"] for report in runs]) + "%",
                *(_spread([report["speedup"][s] for report in runs]) + "×" for s in shapes),
            )
        )
    return align(rows)


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


def _keep(workdir: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(workdir / name, folder / name)


if __name__ == "__main__":
    main()
