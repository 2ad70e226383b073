"""Many runs from one file: all of them in turn, or one of them for a job array.

`at_densities`, `family` and `share_teacher` are for such files, those of experiments/ and anybody's
own.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bpjax.config import default_fields, first_difference, read_config, read_sweep
from bpjax.distributed import RESUME
from bpjax.errors import Interrupted, UserError
from bpjax.pipeline import run
from bpjax.report.write import FILE, read_report
from bpjax.workdir import is_taken

RELATIVE = ("density", "speedup")
"""Kinds of budgets whose value is over the model that a run starts from."""


def share_teacher(runs: list[tuple[str, ConfigDict]], workdir: Path) -> None:
    """Lets the runs of a sweep learn from the first one's dense model, and share its logits.

    That is the one which the first run trains, unless its config names one.

    Args:
      runs: (name, config) pairs, changed in place.
      workdir: folder of the runs.
    """
    first, start = runs[0]
    source = start.teacher.source or str(workdir / first / "teacher" / "model")
    for name, config in runs:
        config.distillation.cache = str(workdir / "teacher_logits")
        if name != first:
            config.teacher.source = source


def at_densities(
    path: Path,
    variants: Mapping[str, Mapping[str, Any]],
    densities: Sequence[float],
    workdir: Path,
) -> list[tuple[str, ConfigDict]]:
    """Every variant of a config at every density, with one teacher; a run is NAME_DENSITY.

    Args:
      path: of the config.
      variants: by name, its changes by flat name such as `pruning.method`.
      densities: values of the budget, fractions.
      workdir: folder of the runs.
    """
    runs: list[tuple[str, ConfigDict]] = []
    for density in densities:
        for name, changes in variants.items():
            config = read_config(str(path), [])
            config.budget.value = density
            config.update_from_flattened_dict(changes)
            runs.append((f"{name}_{density:g}", config))
    share_teacher(runs, workdir)
    return runs


def family(
    path: Path,
    kind: str,
    values: Sequence[float | int],
    seeds: Sequence[int],
    workdir: Path,
    costs: Path | None = None,
) -> list[tuple[str, ConfigDict]]:
    """Ever smaller models: every run prunes the model of the run before it, and trains it again.

    A run is KINDVALUE_seedSEED, such as speedup3_seed17, with the budget of the dense model; of one
    seed it is KINDVALUE. In its config the value is what the run itself is to do, for a density and
    a speedup are of the model that it starts from. Where a config does not fine-prune
    (`prune.epochs` of 0), every run cuts the dense model.

    Args:
      path: of the config.
      kind: of the budgets.
      values: of the budgets of the dense model, the largest model's first.
      seeds: of as many families, with one dense model.
      workdir: folder of the runs.
      costs: folder of measured costs, KINDVALUE.json; None has every run measure its own.
    """
    runs: list[tuple[str, ConfigDict]] = []
    for seed in seeds:
        done, before = 1.0, ""
        for value in values:
            config = read_config(str(path), [])
            config.seed = seed
            config.budget.kind = kind
            if costs:
                config.budget.costs = str(costs / f"{kind}{value:g}.json")
            if not config.prune.epochs:
                done, before = 1.0, ""
            config.budget.value = value / done if kind in RELATIVE else value
            if before:
                last = "fill" if config.fill.epochs else "shrink"
                config.model.source = str(workdir / before / last / "model")
                config.prune.start = "pretrained"
            done = value
            before = f"{kind}{value:g}" + (f"_seed{seed}" if len(seeds) > 1 else "")
            runs.append((before, config))
    share_teacher(runs, workdir)
    return runs


def run_one(path: str, workdir: Path, overrides: list[str], index: int) -> Path:
    """Runs, or finishes, the i-th run of a sweep in its folder under `workdir`.

    Returns:
      That folder.

    Raises:
      UserError: no such run, or what `pipeline.run` refuses.
    """
    configs = read_sweep(path, workdir, overrides)
    if not 0 <= index < len(configs):
        raise UserError(
            f"--index={index}: expected 0 to {len(configs) - 1}, the {len(configs)} runs of {path}"
        )
    name, config = list(configs.items())[index]
    folder = workdir / name
    if not _is_finished(folder, config.to_dict()):
        run(config, folder, shlex.join(["bpjax", *_arguments(path, workdir, overrides, index)]))
    return folder


def run_all(path: str, workdir: Path, overrides: list[str], *, quiet: bool = False) -> list[Path]:
    """Runs all runs of a sweep that are not finished, each in a process of its own.

    One that fails, whatever it dies of, does not stop the others; the same call tries it again.
    Runs that another worker is at are left to it: several may share a folder.

    Args:
      path: of the sweep.
      workdir: folder of the runs.
      overrides: of every config.
      quiet: the runs print errors only.

    Returns:
      The folders of the runs, all finished.

    Raises:
      UserError: some failed or are not finished; the message names them.
      Interrupted: one was asked to end.
    """
    configs = read_sweep(path, workdir, overrides)
    failed, taken = [], []
    for index, (name, config) in enumerate(configs.items()):
        if _is_finished(workdir / name, config.to_dict()):
            continue
        if is_taken(workdir / name):
            taken.append(name)
            continue
        print(f"\n{name} ({index + 1} of {len(configs)})", flush=True)
        arguments = _arguments(path, workdir, overrides, index)
        code = _run_apart([*arguments, "--quiet"] if quiet else arguments)
        if code == RESUME:
            raise Interrupted(f"sweep {path}: ended in {name}; the same command goes on from here")
        if code:
            failed.append(name)
    if failed:
        raise UserError(
            f"sweep {path}: {len(failed)} of {len(configs)} runs failed ({', '.join(failed)}); "
            "their messages stand above; the same command tries them again"
        )
    if taken:
        raise UserError(
            f"sweep {path}: other processes are at {', '.join(taken)}; all else is finished, and "
            "the same command will compare all runs when they are"
        )
    return [workdir / name for name in configs]


def _run_apart(arguments: list[str]) -> int:
    with subprocess.Popen([sys.executable, "-m", "bpjax", *arguments]) as child:
        try:
            return child.wait()
        except Interrupted:
            child.terminate()  # it saves, and this waits for it
            raise


def _arguments(path: str, workdir: Path, overrides: list[str], index: int) -> list[str]:
    return ["sweep", path, f"--workdir={workdir}", f"--index={index}", *overrides]


def _is_finished(folder: Path, config: dict[str, Any]) -> bool:
    if not (folder / FILE).exists():
        return False
    now = json.loads(json.dumps(config))
    defaults = default_fields(now["task"]["name"])
    return first_difference(read_report(folder)["config"], now, defaults) is None
