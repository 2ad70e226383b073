"""Pictures of a run: which blocks are left, and how metric, density and loss moved."""

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

INK, MUTED, GRID = "#1f2933", "#6b7785", "#d9dfe5"
BLUE, ORANGE, GREY = "#1f5f99", "#c2571a", "#4d5a68"
KEPT, REMOVED = BLUE, "#e9edf1"

Curve: TypeAlias = Shaped[np.ndarray, " points"]


# Short titles, in the order in which columns stand. Those of other names follow as they come, each
# under its name.
TITLES = {
    "attention/query": "Q",
    "attention/key": "K",
    "attention/value": "V",
    "attention/output": "O",
    "attention": "heads",
    "cross_attention/query": "cross Q",
    "cross_attention/key": "cross K",
    "cross_attention/value": "cross V",
    "cross_attention/output": "cross O",
    "cross_attention": "cross heads",
    "ffn": "FFN",
    "ffn/in": "FFN in",
    "ffn/out": "FFN out",
    "hidden": "hidden state",
}
# Last parts of the names of matrices that write to the residual stream. Their rows are units: they
# are drawn transposed, marked ᵀ, so that a unit is a column everywhere.
WRITES = ("output", "out", "down")
# What a strip's cells are called, by the last part of its name; of other names, units.
UNITS = {
    "attention": "heads",
    "cross_attention": "heads",
    "ffn": "dimensions",
    "hidden": "dimensions",
}
NARROW, WIDE = 1.0, 3.2
"""Panel widths in inches."""

LETTER = 0.07
"""Width of one in the name of a layer, in inches at most."""

FINEST = 110
"""Cells drawn an inch at most, below what the picture resolves: more are averaged first."""


def plot_masks(
    masks: Mapping[str, Shaped[np.ndarray, "..."]],
    path: str | os.PathLike[str],
    title: str = "Blocks left, by layer",
) -> None:
    """Draws the masks of all layers, a row a layer, and saves them as a PNG.

    Args:
      masks: at score resolution, 0 for a removed block, by name: "layer_0/attention/query"
        `[rows, cols]`, "layer_0/ffn" `[dims]` (drawn as a strip), any other "LAYER/SUBLAYER" or
        "LAYER/SUBLAYER/MATRIX" with one or two axes, or the whole model's "hidden" `[dims]`. Layers
        appear in the order of their first mask.
      path: of the PNG.
      title: stands above the picture.

    Raises:
      ValueError: no masks, or one without one or two axes.
    """
    if not masks:
        raise ValueError("no masks: expected at least one")
    places = {_place(name): mask for name, mask in masks.items()}
    layers = list(dict.fromkeys(layer for layer, _ in places))
    present = list(dict.fromkeys(column for _, column in places))
    columns = [name for name in TITLES if name in present]
    columns += [name for name in present if name not in TITLES]
    widths = [NARROW if _is_square(name) else WIDE for name in columns]

    row = 0.92 if len(layers) <= 12 else 0.72
    margin = max(0.7, 0.1 + LETTER * max(map(len, layers)))
    height, width = row * len(layers) + 1.15, margin + 0.15 + 1.12 * sum(widths)
    figure = Figure(figsize=(width, height), dpi=130)
    panels = figure.subplots(
        len(layers), len(columns), squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    left, below = margin / width, 0.5 / height
    figure.subplots_adjust(left, below, 1 - 0.15 / width, 1 - 0.75 / height, 0.12, 0.3 / row)
    for (i, layer), (j, column) in itertools.product(enumerate(layers), enumerate(columns)):
        axes = panels[i, j]
        _draw_mask(axes, places.get((layer, column)), column, widths[j])
        if i == 0:
            axes.set_title(_title(column), fontsize=10, color=INK, pad=5)
        if j == 0:
            label = layer.replace("_", " ")
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5, color=INK)

    note = "dark: kept, light: removed. ᵀ: transposed; a unit (head, FFN dimension) is a column"
    figure.text(left, 0.12 / height, note, fontsize=7.5, color=MUTED)
    figure.text(left, 1 - 0.32 / height, title, fontsize=12, color=INK, weight="bold")
    figure.savefig(path, format="png")


def _place(name: str) -> tuple[str, str]:
    """Row and column of a mask; one over the whole model has a row of its own.

    A layer's name ends with its number, if it has one: "layer_0", "encoder/layer_0".
    """
    numbered = re.match(r"(.*?\d)/(.+)", name)
    layer, column = numbered.groups() if numbered else name.partition("/")[::2]
    return (layer, column) if column else ("", name)


def _is_square(column: str) -> bool:
    """Whether it is one of the matrices of an attention, about as many rows as columns."""
    return column.rpartition("/")[0].endswith("attention")


def _is_write(column: str) -> bool:
    sublayer, _, matrix = column.rpartition("/")
    return bool(sublayer) and matrix in WRITES


def _title(column: str) -> str:
    return TITLES.get(column, column) + "ᵀ" * _is_write(column)


def _draw_mask(
    axes: Axes, mask: Shaped[np.ndarray, "..."] | None, column: str, width: float
) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=GRID, linewidth=0.6)
    if mask is None:
        axes.set_frame_on(False)
        return
    if mask.ndim not in (1, 2):
        raise ValueError(f"mask of shape {mask.shape}: expected one or two axes")
    kept = np.atleast_2d(mask != 0)
    if _is_write(column) and mask.ndim == 2:
        kept = kept.T
    cells = _pool(_pool(kept.astype(float), int(FINEST * width)).T, int(FINEST * 0.6)).T
    colors = LinearSegmentedColormap.from_list("kept", [REMOVED, KEPT])
    axes.imshow(cells, cmap=colors, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    unit = "blocks" if mask.ndim == 2 else UNITS.get(column.split("/")[-1], "units")
    text = f"{kept.mean():.0%}"
    if width == WIDE:
        text = f"{kept.sum():,} of {kept.size:,} {unit}, {text}"
    axes.set_xlabel(text, fontsize=7, color=MUTED, labelpad=2)


def _pool(cells: Shaped[np.ndarray, "rows cols"], limit: int) -> Shaped[np.ndarray, "rows few"]:
    """Averages neighbouring columns until there are at most `limit`."""
    if cells.shape[1] <= limit:
        return cells
    edges = np.arange(0, cells.shape[1], -(-cells.shape[1] // limit))
    return np.add.reduceat(cells, edges, axis=1) / np.diff(edges, append=cells.shape[1])


def plot_curves(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    metric: str = "metric",
    title: str = "Metric, density and loss over steps",
) -> None:
    """Draws metric, density and loss over the steps of all stages and saves them as a PNG.

    Args:
      rows: of the log, in their order. Each holds `stage` and `step` (counted within the stage)
        and any of `loss`, `density` (a fraction) and `metric` (in percent); rows without a
        value are passed over for it. Stages stand one after the other.
      path: of the PNG.
      metric: key of the metric in the rows, and its label.
      title: stands above the picture.

    Raises:
      ValueError: no row has any of the values.
    """
    stages = _join_stages(rows)
    keys = {metric: _draw_metric, "density": _draw_density, "loss": _draw_loss}
    keys = {key: draw for key, draw in keys.items() if any(_series(s, key)[0].size for s in stages)}
    if not keys:
        raise ValueError(f"no row has {metric}, density or loss: expected at least one")

    heights = [1.6 if key == metric else 1.0 for key in keys]
    figure = Figure(figsize=(8.5, 1.9 * sum(heights) + 0.6), dpi=130, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, weight="bold")
    panels = figure.subplots(
        len(keys), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    figure.align_ylabels()
    for axes, (key, draw) in zip(panels, keys.items(), strict=True):
        style(axes, f"{metric} [%]" if key == metric else key)
        _draw_stages(axes, stages, named=axes is panels[0])
        # One line a stage: nothing happened between the end of one and the start of the next.
        for stage in stages:
            draw(axes, *_series(stage, key))
    panels[-1].set_xlabel("optimizer step, stages one after the other", fontsize=9, color=INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    figure.savefig(path, format="png")


class _Stage(NamedTuple):
    name: str
    start: float  # step, counted over all stages, at which it begins
    end: float
    points: list[tuple[float, Mapping[str, Any]]]  # (step counted over all stages, row)


def _join_stages(rows: Iterable[Mapping[str, Any]]) -> list[_Stage]:
    stages: list[_Stage] = []
    start = 0.0
    for name, group in itertools.groupby(rows, key=lambda row: row.get("stage", "")):
        points = [(start + row["step"], row) for row in group if "step" in row]
        if points:
            end = max(step for step, _ in points)
            stages.append(_Stage(str(name), start, end, points))
            start = end
    return stages


def _series(stage: _Stage, key: str) -> tuple[Curve, Curve]:
    # By step, the last row counts: a run that was resumed has logged some steps twice.
    found = {step: row[key] for step, row in stage.points if row.get(key) is not None}
    steps, values = list(found), list(found.values())
    return np.asarray(steps, float), np.asarray(values, float)


def _draw_metric(axes: Axes, steps: Curve, values: Curve) -> None:
    axes.plot(steps, values, color=BLUE, lw=1.4, marker="o", ms=4)
    axes.margins(y=0.12)
    if values.size:
        axes.annotate(
            f"{values[-1]:.1f}",
            (steps[-1], values[-1]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=BLUE,
        )


def _draw_density(axes: Axes, steps: Curve, values: Curve) -> None:
    axes.plot(steps, values, color=ORANGE, lw=1.6)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("density\n[linear parameters]", fontsize=9, color=INK)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _draw_loss(axes: Axes, steps: Curve, values: Curve) -> None:
    axes.plot(steps, values, color=GREY, lw=0.7, alpha=0.35)
    axes.plot(steps, _smooth(values), color=GREY, lw=1.5)
    axes.margins(y=0.08)


def _smooth(values: Curve) -> Curve:
    """Centred mean over about a thirtieth of the curve."""
    window = np.ones(2 * (len(values) // 60) + 1)
    if window.size == 1:
        return values
    covered = np.convolve(np.ones_like(values), window, mode="same")
    return np.convolve(values, window, mode="same") / covered


def style(axes: Axes, label: str) -> None:
    """The look that all graphs share, and the label of the vertical axis."""
    axes.set_ylabel(label, fontsize=9, color=INK)
    axes.grid(axis="y", color=GRID, lw=0.6)
    axes.tick_params(labelsize=8, colors=MUTED, length=3)
    for side, spine in axes.spines.items():
        spine.set(color=GRID, visible=side in ("left", "bottom"))
    axes.margins(x=0.02)


def _draw_stages(axes: Axes, stages: Sequence[_Stage], named: bool) -> None:
    for i, stage in enumerate(stages):
        if i % 2:
            axes.axvspan(stage.start, stage.end, color=REMOVED, alpha=0.6, lw=0)
        if named:
            axes.annotate(
                stage.name.replace("_", " "),
                ((stage.start + stage.end) / 2, 1.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=MUTED,
            )
