"""Many runs side by side: those of one machine that differ by their seed alone are one row."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from bpjax.errors import UserError
from bpjax.report.environment import name_machine
from bpjax.report.sizes import TITLES, sizes_of, units_by_kind
from bpjax.report.table import align
from bpjax.report.write import find_reports

# Fields of a config that say where things are, or how they were computed, and not what.
LOCATION_FIELDS = (
    "seed",
    "teacher.source",
    "distillation.cache",
    "task.data_dir",
    "log_every",
)
# Of these it tells that there is one: the place does not matter, the seeds have one each.
RUN_FIELDS = ("prune.source", "prune.rewind")

_NAMES = ("pruning.method", "pruning.pattern")
_BUDGET = "budget."


class Group(NamedTuple):
    """Runs of one config and one machine with different seeds.

    Attributes:
      name: what tells the group from the others compared, but for the budget: its method and
        pattern where these differ, and fields of the config that have not their usual value.
      budget: the fields of the budget that differ between the groups, such as `budget.value`.
      reports: one a run.
      machine: that they were timed on, as `environment.name_machine`; empty where all the reports
        compared have the same, for speeds of different machines are not to be compared.
    """

    name: str
    budget: dict[str, Any]
    reports: list[dict[str, Any]]
    machine: str = ""


def gather(
    folders: Sequence[Path], defaults: Callable[[str], dict[str, Any]] = lambda task: {}
) -> dict[str, list[Group]]:
    """Finds the reports in and under some folders and groups them, by task.

    Args:
      folders: of runs, or above some.
      defaults: a task's whole config, for the fields that a run is too old to have.

    Raises:
      UserError: as `find_reports`.
    """
    reports = find_reports(folders)
    tasks = sorted({report["task"] for report in reports})
    mixed = len({name_machine(report["environment"]) for report in reports}) > 1
    return {
        task: _group([r for r in reports if r["task"] == task], defaults(task), mixed)
        for task in tasks
    }


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


def _group(reports: list[dict[str, Any]], defaults: dict[str, Any], mixed: bool) -> list[Group]:
    """Reports of one task, by config but for seeds and places, and by machine if `mixed`."""
    configs = [
        traverse_util.flatten_dict(defaults, sep=".")
        | traverse_util.flatten_dict(report["config"], sep=".")
        for report in reports
    ]
    fields = sorted({field for config in configs for field in config} - set(LOCATION_FIELDS))
    found: dict[str, tuple[dict[str, Any], str, list[dict[str, Any]]]] = {}
    for report, config in zip(reports, configs, strict=True):
        values = {field: config.get(field) for field in fields}
        for field in RUN_FIELDS:
            values[field] = "another run" if values.get(field) else "none"
        machine = name_machine(report["environment"]) if mixed else ""
        found.setdefault(repr((values, machine)), (values, machine, []))[-1].append(report)
    configs = list({repr(values): values for values, *_ in found.values()}.values())
    usual: dict[str, str] = {}
    for field in fields:
        counts = Counter(repr(values[field]) for values in configs)
        if len(counts) > 1:
            usual[field] = counts.most_common(1)[0][0]
    told = sorted(usual, key=lambda field: (field not in _NAMES, field))
    groups = []
    for values, machine, members in found.values():
        name = ", ".join(
            _told(field, values[field])
            for field in told
            if not field.startswith(_BUDGET)
            and (field in _NAMES or repr(values[field]) != usual[field])
        )
        budget = {field: values[field] for field in told if field.startswith(_BUDGET)}
        groups.append(Group(name, budget, members, machine))
    return groups


def format_groups(groups: Sequence[Group]) -> str:
    """`group_rows` lined up."""
    return align(group_rows(groups), left=range(count_labels(groups)))


def count_labels(groups: Sequence[Group]) -> int:
    """How many columns of `group_rows` say which runs a row is of."""
    optional = any(group.name for group in groups) + any(group.machine for group in groups)
    return optional + len(groups[0].budget) + 1


def group_rows(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Titles, then a row a group: which, metrics of dense and pruned, what is left by kind, speed.

    Speed is measured, and at the last shape also in theory (`measure.flops`). Numbers are mean ±
    standard deviation over the seeds.
    """
    first = groups[0].reports[0]
    named, mixed = any(g.name for g in groups), any(g.machine for g in groups)
    reports = [report for group in groups for report in group.reports]
    metrics = list(dict.fromkeys(name for r in reports for name in r["dense"]["metrics"]))
    shapes = list(first["speedup"])
    budget = (field.removeprefix(_BUDGET) for field in groups[0].budget)
    which = (*["run"][:named], *budget, "seeds", *["machine"][:mixed])
    titles = (*which, f"dense {metrics[0]}", *metrics)
    kinds = list(dict.fromkeys(kind for r in reports for kind in units_by_kind(sizes_of(r))))
    left = ("density [%]", *(TITLES.get(kind, kind) for kind in kinds))
    speeds = (*(f"{shape} [×]" for shape in shapes), "in theory [×]")
    rows: list[tuple[str, ...]] = [(*titles, *left, *speeds)]
    for group in groups:
        columns = [
            [report["dense"]["metrics"].get(metrics[0]) for report in group.reports],
            *([report["pruned"]["metrics"].get(m) for report in group.reports] for m in metrics),
            [100 * report["density"] for report in group.reports],
        ]
        by_kind = [units_by_kind(sizes_of(report)) for report in group.reports]
        counts = [[units.get(kind) for units in by_kind] for kind in kinds]
        times = [
            *([report["speedup"].get(s) for report in group.reports] for s in shapes),
            [report["theoretical_speedup"].get(shapes[-1]) for report in group.reports],
        ]
        label = [*[group.name][:named], *map(_value, group.budget.values())]
        seeds = ", ".join(str(report["seed"]) for report in group.reports)
        sizes = (mean_and_deviation(count, digits=0) for count in counts)
        rows.append(
            (
                *label,
                seeds,
                *[group.machine][:mixed],
                *map(mean_and_deviation, columns),
                *sizes,
                *map(mean_and_deviation, times),
            )
        )
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


def mean_and_deviation(values: Sequence[float | int | None], digits: int = 2) -> str:
    """Mean ± standard deviation of a sample, or the one value; a dash where any is missing."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) or not numbers:
        return "–"
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.{digits}f}"


def _told(field: str, value: Any) -> str:
    return str(value) if field in _NAMES else f"{field.removeprefix('pruning.')} {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
