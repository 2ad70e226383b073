"""Many runs side by side: those that differ by their seed alone are one row."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from bpjax.errors import UserError
from bpjax.report.table import align
from bpjax.report.write import FILE, read_report

# Fields of a config that say where things are, or how they were computed, and not what.
_PLACES = (
    "seed",
    "teacher.source",
    "prune.source",
    "distillation.cache",
    "task.data_dir",
    "log_every",
)


class Group(NamedTuple):
    """Runs of one config with different seeds.

    Attributes:
      label: what tells the group from the others compared, by field of the config.
      reports: one a run.
    """

    label: dict[str, Any]
    reports: list[dict[str, Any]]


def gather(folders: Sequence[Path]) -> dict[str, list[Group]]:
    """Finds the reports in and under some folders and groups them, by task.

    Raises:
      UserError: a folder without a report.
    """
    reports = []
    for folder in folders:
        found = sorted(path.parent for path in folder.rglob(FILE))
        if not found:
            raise UserError(
                f"{folder}: expected a finished run's folder, or one above some; no {FILE} there"
            )
        reports += [read_report(path) for path in found]
    tasks = sorted({report["task"] for report in reports})
    return {task: _group([r for r in reports if r["task"] == task]) for task in tasks}


def only_task(groups: dict[str, list[Group]]) -> list[Group]:
    """The groups of the one task there is, for pictures of a metric.

    Raises:
      UserError: there are several.
    """
    if len(groups) > 1:
        raise UserError(f"reports of {' and '.join(groups)}: expected one task; draw them apart")
    (found,) = groups.values()
    return found


def format_tasks(groups: dict[str, list[Group]]) -> str:
    """A table for each task."""
    if len(groups) == 1:
        return format_groups(only_task(groups))
    return "\n\n".join(f"{task}\n{format_groups(found)}" for task, found in groups.items())


def _group(reports: list[dict[str, Any]]) -> list[Group]:
    """Reports of one task, by config but for seeds and places."""
    configs = [traverse_util.flatten_dict(report["config"], sep=".") for report in reports]
    names = sorted({name for config in configs for name in config} - set(_PLACES))
    groups: dict[str, Group] = {}
    for report, config in zip(reports, configs, strict=True):
        shown = {name: config.get(name) for name in names}
        groups.setdefault(repr(shown), Group(shown, [])).reports.append(report)
    differing = [
        name for name in names if len({repr(group.label[name]) for group in groups.values()}) > 1
    ]
    return [
        Group({name: group.label[name] for name in differing}, group.reports)
        for group in groups.values()
    ]


def format_groups(groups: Sequence[Group]) -> str:
    """`group_rows` lined up."""
    return align(group_rows(groups), left=range(len(groups[0].label) + 1))


def group_rows(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Titles, then a row a group: what differs, metrics of dense and pruned, what is left, speed.

    Speed is measured, and at the last shape also in theory (`deploy.flops`). Numbers are mean ±
    standard deviation over the seeds.
    """
    first = groups[0].reports[0]
    names = list(groups[0].label)
    metrics, shapes = list(first["dense"]["metrics"]), list(first["speedup"])
    titles = (*(_short(name, names) for name in names), "seeds", f"dense {metrics[0]}", *metrics)
    left = ("density [%]", "heads", "FFN dimensions")
    speeds = (*(f"{shape} [×]" for shape in shapes), "in theory [×]")
    rows: list[tuple[str, ...]] = [(*titles, *left, *speeds)]
    for group in groups:
        columns = [
            [report["dense"]["metrics"][metrics[0]] for report in group.reports],
            *([report["pruned"]["metrics"][m] for report in group.reports] for m in metrics),
            [100 * report["density"] for report in group.reports],
        ]
        counts = [
            [sum(report[name]) for report in group.reports] for name in ("heads_kept", "ffn_kept")
        ]
        times = [
            *([report["speedup"].get(s) for report in group.reports] for s in shapes),
            [report["theoretical_speedup"].get(shapes[-1]) for report in group.reports],
        ]
        label = [_value(group.label[name]) for name in names]
        seeds = ", ".join(str(report["seed"]) for report in group.reports)
        sizes = (spread(count, digits=0) for count in counts)
        rows.append((*label, seeds, *map(spread, columns), *sizes, *map(spread, times)))
    return rows


def choose_shape(groups: Sequence[Group], asked: str | None = None) -> str:
    """A "BATCHxLENGTH" that all reports give a speedup for: the one asked for, or the last.

    Raises:
      UserError: there is no such shape.
    """
    measured = [report["speedup"] for group in groups for report in group.reports]
    common = [shape for shape in measured[0] if all(shape in each for each in measured)]
    if not common or asked not in (None, *common):
        raise UserError(
            f"shape {asked or 'of the speedup'}: expected one that all runs measured, "
            f"{' or '.join(common) or 'and there is none'}; name one of them, or fewer runs"
        )
    return asked or common[-1]


def spread(values: Sequence[float | int | None], digits: int = 2) -> str:
    """Mean ± standard deviation of a sample, or the one value; a dash where any is missing."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) or not numbers:
        return "–"
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.{digits}f}"


def _short(name: str, names: Sequence[str]) -> str:
    """The last part of a field's name, or all of it where another ends alike."""
    last = name.rpartition(".")[2]
    alike = [other for other in names if other.rpartition(".")[2] == last]
    return last if len(alike) == 1 else name


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
