"""Metric against density and against speed, for many runs."""

import io
import os
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bpjax.report.compare import Group
from bpjax.report.plots import BLUE, GREY, INK, MUTED, ORANGE, style

_COLORS = (BLUE, ORANGE, "#3f7d3a", "#7a3f8f", "#8a6d1f", GREY, "#1b8a8f", "#c2477f")
_MARKERS = "osD^vPX"  # one fewer than colours: 56 pairs


def plot_pareto(
    groups: Sequence[Group], shape: str, path: str | os.PathLike[str] | io.BytesIO
) -> None:
    """Draws every group as a point with its spread over seeds, and saves a PNG.

    A series is what differs in the budget alone; its name ends in its machine where they differ.

    Args:
      groups: of `compare.gather`.
      shape: "BATCHxLENGTH" whose speedup is drawn.
      path: of the PNG, or a file to write it to.
    """
    metric = next(iter(groups[0].reports[0]["dense"]["metrics"]))
    series: dict[str, list[Group]] = {}
    for group in groups:
        name = ", on ".join(part for part in (group.name or "pruned", group.machine) if part)
        series.setdefault(name, []).append(group)

    figure = Figure(figsize=(9.5, 4.2 + 0.18 * len(series)), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    style(left, f"{metric} [%]")
    style(right, "")
    left.set_xlabel("linear parameters left", fontsize=9, color=INK)
    left.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.set_xlabel(f"times faster than dense, {shape}", fontsize=9, color=INK)
    dense = statistics.mean(
        report["dense"]["metrics"][metric] for group in groups for report in group.reports
    )
    for axes, whole in ((left, 1.0), (right, 1.0)):
        axes.axhline(dense, color=MUTED, lw=0.8, ls=":")
        axes.plot([whole], [dense], "*", color=INK, ms=10, label="dense")
    for i, (name, members) in enumerate(series.items()):
        look: dict[str, Any] = {
            "color": _COLORS[i % len(_COLORS)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        scores = [[r["pruned"]["metrics"][metric] for r in group.reports] for group in members]
        for axes, of in (
            (left, lambda report: report["density"]),
            (right, lambda report: report["speedup"][shape]),
        ):
            _draw(axes, [[of(r) for r in group.reports] for group in members], scores, name, look)
    handles, labels = left.get_legend_handles_labels()
    wrapped = [textwrap.fill(label, 150) for label in labels]
    columns = 2 if max(map(len, labels)) < 70 else 1
    figure.legend(
        handles, wrapped, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    figure.savefig(path, format="png")


def _draw(
    axes: Axes,
    places: list[list[float]],
    scores: list[list[float]],
    name: str,
    look: dict[str, Any],
) -> None:
    points = sorted(zip(places, scores, strict=True), key=lambda pair: statistics.mean(pair[0]))
    x, y = ([statistics.mean(values) for values in side] for side in zip(*points, strict=True))
    spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in points]
    axes.errorbar(
        x, y, spread if any(spread) else None, lw=1.2, ms=5, capsize=2.5, label=name, **look
    )
