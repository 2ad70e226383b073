"""The pipeline: a list of stages, of which a config selects, and the report.

Each stage reads what those before it made, and is skipped when it is finished. Nothing after shrink
knows that masks exist.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from bpjax import stages
from bpjax.config import RunConfig, default_fields, validate
from bpjax.distributed import write_once
from bpjax.models.heads import HEADS
from bpjax.report.card import write_card
from bpjax.report.page import write_run_page
from bpjax.report.plots import plot_curves, plot_masks
from bpjax.report.write import write_report
from bpjax.stages.base import Inputs, Stage
from bpjax.stages.inputs import check_inputs, given, prepare
from bpjax.stages.masked import read_masked
from bpjax.stages.origins import origins
from bpjax.stages.plan import plan as plan_steps
from bpjax.training.scalars import read_scalars
from bpjax.workdir import Workdir

Notes = dict[str, dict[str, Any]]


def run(config: Any, workdir: Path, command: str) -> dict[str, Any]:
    """Runs a config from its first unfinished stage to the report.

    Args:
      config: as `bpjax.config.default_config`.
      workdir: where the stages and the report go; made if missing.
      command: how the run was started, for the report.

    Returns:
      The report, as in `workdir`/report.json.

    Raises:
      UserError: bad config, data, checkpoint or workdir; a workdir that was begun with other data
        or models.
    """
    typed = validate(config)
    # It goes on on other devices.
    defaults = default_fields(typed.task.name)
    folder = Workdir(workdir, config.to_dict(), free=("mesh",), defaults=defaults)
    inputs = prepare(typed)
    folder.hold_to(origins(inputs, typed))
    _check(inputs, typed)
    with folder.exclusive():
        notes, made = _run(inputs, typed, folder)
        report = _report(inputs, typed, notes)
        report |= {"command": command, "config": config.to_dict()}
        write_once(_write, report, inputs, typed, made, workdir)
    return report


def plan(config: Any, workdir: Path) -> dict[str, Any]:
    """What `run` would take, see `stages.plan`; nothing is written.

    Raises:
      UserError: what `run` would refuse before it trains.
    """
    typed = validate(config)
    inputs = prepare(typed)
    _check(inputs, typed)
    found = {stage.name: stage.plan(inputs, typed) for stage in _wanted(typed)}
    steps = {name: count for name, count in found.items() if count}
    planned = plan_steps(inputs, typed, steps)
    return {"workdir": str(workdir), "config": config.to_dict(), **planned}


def _wanted(config: RunConfig) -> Iterator[Stage]:
    return (stage for stage in stages.STAGES if stage.wanted(config))


def _check(inputs: Inputs, config: RunConfig) -> None:
    """All checks: the last stage's first, for the dearest is the first one's."""
    check_inputs(inputs, config)
    for stage in reversed([*_wanted(config)]):
        stage.check(inputs, config)


def _run(inputs: Inputs, config: RunConfig, folder: Workdir) -> tuple[Notes, dict[str, Path]]:
    """What the stages noted, by name, and where the newest artefact of each kind is."""
    notes: Notes = {}
    made = given(config)
    for stage in _wanted(config):
        taken = {kind: made[kind] for kind in stage.takes if kind in made}
        work = functools.partial(stage.run, inputs, config, taken)
        notes[stage.name] = folder.stage(stage.name, work)
        if stage.makes:
            made[stage.makes] = stage.artefact(folder.path / stage.name)
    return notes, made


def _report(inputs: Inputs, config: RunConfig, notes: Notes) -> dict[str, Any]:
    report: dict[str, Any] = {
        "task": config.task.name,
        "model": config.model.source,
        "pattern": config.pruning.pattern,
        "method": config.pruning.method,
        "seed": config.seed,
        "rows": {"train": len(inputs.train), "evaluation": len(inputs.evaluation)},
        # 0 of those that the config leaves out.
        "seconds": {
            stage.name: notes.get(stage.name, {}).get("seconds", 0.0) for stage in stages.STAGES
        },
        # Of the stages that trained here: fractions of the seconds, bytes on a device.
        **{
            key: {name: found[key] for name, found in notes.items() if key in found}
            for key in ("waiting", "compiling", "step_bytes")
        },
    }
    for stage in _wanted(config):
        report |= stage.report(notes[stage.name])
    return report


def _write(
    report: dict[str, Any],
    inputs: Inputs,
    config: RunConfig,
    made: Mapping[str, Path],
    workdir: Path,
) -> None:
    """Plots, page, card and, last of all, the report: a folder with a report is a finished run."""
    model, params, values, removal = read_masked(inputs, config, made["masked"])
    plot_masks(jax.device_get(values), workdir / "masks.png")
    if rows := read_scalars(workdir):  # none where nothing was trained
        plot_curves(rows, workdir / "curves.png", metric=inputs.task.metric)
    write_run_page(report, removal.summarize(params, values), workdir)
    for kind, part in (("model", "pruned"), ("quantized", "quantized")):
        if kind in made:
            write_card(report, HEADS[inputs.task.head].card_task, made[kind], model.labels, part)
    write_report(report, workdir)
