"""The pipeline: teacher → fine-prune → shrink → fill → measure → report.

Each stage reads what the stage before it wrote, and is skipped when it is finished. Nothing after
shrink knows that masks exist.
"""

from pathlib import Path
from typing import Any

import jax

from bpjax.config import default_fields
from bpjax.distributed import write_once
from bpjax.models.heads import HEADS
from bpjax.models.sources import find_folder
from bpjax.report.card import write_card
from bpjax.report.environment import describe_environment
from bpjax.report.page import write_run_page
from bpjax.report.plots import plot_curves, plot_masks
from bpjax.report.write import write_report
from bpjax.stages import finish, inputs, train
from bpjax.stages import plan as stages_plan
from bpjax.stages.budget import read_budget
from bpjax.training.scalars import read_scalars
from bpjax.workdir import Workdir, load_arrays


def run(config: Any, workdir: Path, command: str) -> dict[str, Any]:
    """Runs a config from its first unfinished stage to the report.

    Args:
      config: as `bpjax.config.default_config`, validated.
      workdir: where the stages and the report go; made if missing.
      command: how the run was started, for the report.

    Returns:
      The report, as in `workdir`/report.json.

    Raises:
      UserError: bad data, checkpoint or workdir.
    """
    # It goes on on other devices.
    defaults = default_fields(config.task.name)
    folder = Workdir(workdir, config.to_dict(), free=("mesh",), defaults=defaults)
    data = inputs.prepare(config)
    inputs.check(data)
    with folder.exclusive():
        return _run(data, folder, command)


def plan(config: Any, workdir: Path) -> dict[str, Any]:
    """What `run` would take, see `stages.plan`; nothing is written.

    Raises:
      UserError: what `run` would refuse before it trains.
    """
    data = inputs.prepare(config)
    inputs.check(data)
    return {"workdir": str(workdir), "config": config.to_dict(), **stages_plan.plan(data)}


def _run(data: inputs.Run, folder: Workdir, command: str) -> dict[str, Any]:
    config, workdir = data.config, folder.path
    planned = folder.stage("budget", lambda _: data.plan_budget())
    budget = read_budget(planned)
    teacher = folder.stage("teacher", lambda stage: train.train_teacher(data, stage))
    source = config.teacher.source
    teacher_dir = find_folder(source) if source else workdir / "teacher" / "model"
    guide = config.distillation.source
    guide_dir = find_folder(guide) if guide else teacher_dir
    prune = folder.stage(
        "prune", lambda stage: train.prune(data, teacher_dir, guide_dir, budget, stage)
    )
    shrunk = folder.stage("shrink", lambda stage: finish.shrink(data, workdir / "prune", stage))
    shrunken_dir = model_dir = workdir / "shrink" / "model"
    filled = {"seconds": 0.0}
    if config.fill.epochs:
        filled = folder.stage(
            "fill", lambda stage: train.fill(data, guide_dir, shrunken_dir, stage)
        )
        model_dir = workdir / "fill" / "model"
    # The environment is the one that latencies were measured in, whoever writes the report.
    measured = folder.stage(
        "measure",
        lambda _: (
            finish.measure(data, teacher_dir, model_dir) | {"environment": describe_environment()}
        ),
    )
    trained = {"teacher": teacher, "prune": prune, "fill": filled}

    report = {
        "task": config.task.name,
        "model": config.model.source,
        "pattern": config.pruning.pattern,
        "method": config.pruning.method,
        "seed": config.seed,
        "command": command,
        "config": config.to_dict(),
        "rows": {"train": len(data.train.rows), "evaluation": len(data.evaluation.rows)},
        "seconds": {
            "budget": planned["seconds"],
            "teacher": teacher["seconds"],
            "prune": prune["seconds"],
            "shrink": shrunk["seconds"],
            "fill": filled["seconds"],
            "measure": measured.pop("seconds"),
        },
        # Of the stages that trained here: fraction of the seconds, bytes on a device.
        **{
            key: {name: notes[key] for name, notes in trained.items() if key in notes}
            for key in ("waiting", "step_bytes")
        },
        **measured,
        "masked": prune["metrics"],
        "shrunken": shrunk["metrics"],
        "equivalence": shrunk["equivalence"],
    }
    write_once(_write, report, data, model_dir, workdir)
    return report


def _write(report: dict[str, Any], data: inputs.Run, model_dir: Path, workdir: Path) -> None:
    """Plots, page, card and, last of all, the report: a folder with a report is a finished run."""
    masks = jax.device_get(load_arrays(workdir / "prune" / "masks.safetensors"))
    plot_masks(masks, workdir / "masks.png")
    if rows := read_scalars(workdir):  # none where nothing was trained
        plot_curves(rows, workdir / "curves.png", metric=data.task.metric)
    _, layers = finish.summarize_masks(data, workdir / "prune")
    write_run_page(report, layers, workdir)
    write_card(report, HEADS[data.task.head].card_task, model_dir)
    write_report(report, workdir)
