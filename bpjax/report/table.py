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
    """The table at the end of a run: dense against smaller models, then what is left by layer.

    Args:
      report: as in report.json, see `bpjax.report.write.KEYS`.
    """
    names = ("task", "model", "pattern", "method", "seed")
    found = report["equivalence"]
    exact = [
        f"{report['density']:.1%} of the linear parameters are left. Removing the others changed "
        f"the logits of {found['examples']:,} examples by {found['max_abs_diff']:.1e} at most."
    ]
    if rounded := report.get("quantized_equivalence"):
        exact.append(
            f"The integers of the {report['config']['quantize']['preset']} model changed them by "
            f"{rounded['max_abs_diff']:.1e} against the rounded floats that it was made from."
        )
    parts = [
        " · ".join(f"{name} {report[name]}" for name in names),
        align(report_rows(report), left=(0, 3, 5)),
        format_sizes(report),
        " ".join(exact),
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
    """Dense against pruned: titles, then metrics, sizes and latencies, with what changed.

    The quantised model has two columns more, where there is one.
    """
    compared = [("pruned", report["pruned"], report["speedup"], report["theoretical_speedup"])]
    if "quantized" in report:
        title = report["config"]["quantize"]["preset"]
        compared.append((title, report["quantized"], report["quantized_speedup"], {}))
    columns = [
        _changes(report["dense"], model, speedup, theory) for _, model, speedup, theory in compared
    ]
    titles = ("", "dense", *(cell for name, *_ in compared for cell in (name, "")))
    rows = [titles]
    for (title, whole), *changed in zip(_quantities(report["dense"]), *columns, strict=True):
        rows.append((title, whole, *(cell for cells in changed for cell in cells)))
    # Widths that nothing was taken from are not worth a row.
    unchanged = {f"{name} dimensions" for name in streams_of(report["dense"])}
    return [row for row in rows if row[0] not in unchanged or {*row[2::2]} != {row[1]}]


def _quantities(dense: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Titles, and what they are of the dense model."""
    metrics = [
        (name if name.endswith(NOT_PERCENT) else f"{name} [%]", _number(value))
        for name, value in dense["metrics"].items()
    ]
    counts = [(name, f"{count:,}") for name, count in _counts(dense).items()]
    latency = [
        (f"latency {shape} [ms]", _number(milliseconds))
        for shape, milliseconds in dense["latency_ms"].items()
    ]
    return [*metrics, *counts, ("on disk [MB]", _number(dense["bytes_on_disk"] / 1e6)), *latency]


def _changes(
    dense: Mapping[str, Any],
    model: Mapping[str, Any],
    speedup: Mapping[str, Number | None],
    theory: Mapping[str, Number | None],
) -> list[tuple[str, str]]:
    """The same of a smaller model, each with what it is against the dense one's."""
    metrics = [
        (_number(model["metrics"][name]), _signed(model["metrics"][name], value))
        for name, value in dense["metrics"].items()
    ]
    left = _counts(model)
    counts = [(f"{left[k]:,}", _share(left[k], whole)) for k, whole in _counts(dense).items()]
    size = model["bytes_on_disk"]
    latency = []
    for shape in dense["latency_ms"]:
        gain = f"{_times(speedup.get(shape))} faster"
        if theory:
            gain += f", {_times(theory.get(shape))} in theory"
        latency.append((_number(model["latency_ms"].get(shape)), gain))
    return [
        *metrics,
        *counts,
        (_number(size / 1e6), _share(size, dense["bytes_on_disk"])),
        *latency,
    ]


def _counts(model: Mapping[str, Any]) -> dict[str, int]:
    """Numbers of parameters, and of dimensions of the residual streams, by their titles."""
    found = {"linear parameters": model["linear_params"]}
    for stack, count in model.get("linear_params_by_stack", {}).items():
        found[f"of the {stack}"] = count
    found["parameters"] = model["total_params"]
    return found | {f"{name} dimensions": size for name, size in streams_of(model).items()}


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
