"""A report as text: what a run prints at its end."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from bpjax.report.sizes import (
    Units,
    count_units,
    dense_sizes_of,
    encoder_sizes,
    kind_of,
    sizes_of,
    streams_of,
    units_by_kind,
)

NOT_PERCENT = ("_threshold", "_error")
"""How the names of metrics end that are no percentage."""

Number: TypeAlias = int | float  # JSON tells 1 from 1.0, and so does a type checker at run time


def format_report(report: Mapping[str, Any]) -> str:
    """The table at the end of a run: dense against pruned, then what is left by layer.

    Args:
      report: as in report.json, see `bpjax.report.write.KEYS`.
    """
    names = ("task", "model", "pattern", "method", "seed")
    found = report["equivalence"]
    parts = [
        " · ".join(f"{name} {report[name]}" for name in names),
        align(report_rows(report), left=(0, 3)),
        format_sizes(report),
        f"{report['density']:.1%} of the linear parameters are left. Removing the others changed "
        f"the logits of {found['examples']:,} examples by {found['max_abs_diff']:.1e} at most.",
    ]
    return "\n\n".join(parts)


def format_plan(plan: Mapping[str, Any]) -> str:
    """What a run would take.

    Args:
      plan: of `pipeline.plan`.
    """
    model, rows = plan["model"], plan["rows"]
    stages = [("stage", "steps", "minutes, about")]
    for name, steps in plan["steps"].items():
        stages.append((name, f"{steps:,}", f"{plan['seconds'][name] / 60:.0f}"))
    lines = (
        f"{model['parameters']:,} parameters, {model['linear_params']:,} of them linear",
        f"{rows['train']:,} rows to train on, {rows['evaluation']:,} to evaluate on",
        f"{plan['step_bytes'] / 2**30:.2f} GiB for a step on the longest rows, on each of "
        f"{plan['devices']} devices",
    )
    ending = "Evaluation and compilation come on top. Nothing was written."
    return "\n\n".join(("\n".join(lines), align(stages, left=(0,)), ending))


def report_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Dense against pruned: titles, then metrics, sizes and latencies, with what changed."""
    dense, pruned = report["dense"], report["pruned"]
    rows: list[tuple[str, ...]] = [("", "dense", "pruned", "")]
    for name, value in dense["metrics"].items():
        change = _signed(pruned["metrics"][name], value)
        title = name if name.endswith(NOT_PERCENT) else f"{name} [%]"
        rows.append((title, _number(value), _number(pruned["metrics"][name]), change))
    counts = {"linear parameters": (dense["linear_params"], pruned["linear_params"])}
    for stack, whole in dense.get("linear_params_by_stack", {}).items():
        counts[f"of the {stack}"] = whole, pruned["linear_params_by_stack"][stack]
    counts["parameters"] = dense["total_params"], pruned["total_params"]
    for name, (whole, left) in counts.items():
        rows.append((name, f"{whole:,}", f"{left:,}", _share(left, whole)))
    streams = streams_of(pruned)
    for name, whole in streams_of(dense).items():
        if whole != streams[name]:
            left = streams[name]
            rows.append((f"{name} dimensions", str(whole), str(left), _share(left, whole)))
    sizes = dense["bytes_on_disk"], pruned["bytes_on_disk"]
    rows.append(("on disk [MB]", *(_number(size / 1e6) for size in sizes), _share(*sizes[::-1])))
    for shape, milliseconds in dense["latency_ms"].items():
        gain = _times(report["speedup"].get(shape))
        theory = _times(report["theoretical_speedup"].get(shape))
        times = _number(milliseconds), _number(pruned["latency_ms"].get(shape))
        rows.append((f"latency {shape} [ms]", *times, f"{gain} faster, {theory} in theory"))
    return rows


def format_sizes(report: Mapping[str, Any]) -> str:
    """What is left: of an encoder a row a layer, of any other architecture a row a sublayer."""
    encoder = encoder_sizes(sizes_of(report))
    return format_layers(*encoder) if encoder else align(size_rows(report), left=(0, 1))


def size_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Titles, then a row a sublayer, then one a kind: which, its kind, units left, of how many.

    Args:
      report: as in report.json, of any architecture.
    """
    sizes, dense = sizes_of(report), dense_sizes_of(report)
    sums = units_by_kind(sizes), units_by_kind(dense)
    rows: list[tuple[str, ...]] = [("sublayer", "kind", "units left", "of", "")]
    for name, units in sizes.items():
        rows.append((name, kind_of(name), *_left(count_units(units), dense.get(name))))
    return rows + [
        ("all", kind, *_left(units, sums[1].get(kind))) for kind, units in sums[0].items()
    ]


def format_layers(
    heads_kept: Sequence[int],
    ffn_kept: Sequence[int],
    density: Sequence[Number] | None = None,
    nonzero: Sequence[Number] | None = None,
    linear_params: Sequence[int] | None = None,
) -> str:
    """A table by layer, with a last row for all of them.

    Args:
      heads_kept: attention heads left in each layer.
      ffn_kept: feed-forward dimensions left in each layer.
      density: fraction of the dense layer's linear parameters left in each layer, when it is known.
      nonzero: fraction of each layer's linear parameters that are not zero, of those left.
      linear_params: left in each layer, which weigh `nonzero` in the last row.

    The last row's density takes the layers to have been of one size.
    """
    columns: list[list[str]] = [
        ["layer", *map(str, range(len(heads_kept))), "all"],
        ["heads", *(f"{n:,}" for n in (*heads_kept, sum(heads_kept)))],
        ["FFN dimensions", *(f"{n:,}" for n in (*ffn_kept, sum(ffn_kept)))],
    ]
    equal = [1] * len(heads_kept)
    for name, shares, weights in (
        ("density", density, equal),
        ("non-zero", nonzero, linear_params or equal),
    ):
        if shares is not None:
            pairs = zip(shares, weights, strict=True)
            mean = sum(share * weight for share, weight in pairs) / max(1, sum(weights))
            columns.append([name, *(f"{share:.1%}" for share in (*shares, mean))])
    return align(list(zip(*columns, strict=True)))


def align(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """Lines up columns, the first row being their titles, under which a rule is drawn.

    Args:
      rows: cells, as many in each row.
      left: columns set flush left; the others are numbers, set flush right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        pairs = zip(cells, widths, strict=True)
        padded = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(pairs)]
        return "  ".join(padded).rstrip()

    rule = ["─" * width for width in widths]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def _left(units: int, whole: Units | None) -> tuple[str, str, str]:
    if whole is None:  # older reports do not tell
        return f"{units:,}", "–", ""
    count = count_units(whole)
    return f"{units:,}", f"{count:,}", _share(units, count) if count else ""


def _number(value: Number | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _signed(value: Number | None, reference: Number | None) -> str:
    return "" if value is None or reference is None else f"{value - reference:+.2f}"


def _times(value: Number | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def _share(part: Number, whole: Number) -> str:
    return f"{part / whole:.1%}"
