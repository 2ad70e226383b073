"""Published tables with ours beside them: Lagunas et al. 2021, Sanh et al. 2020, Xia et al. 2022.

A cell of ours is a run of the same kind, evaluated on the development split: of those near the
published density one that learnt from most rows, an unknown number being the fewest, and of these
the nearest. `rows` are what it learnt from, SQuAD's in windows, or else the limit it was given.
Where none was run the cell stays empty. Our speedups are of the machine named in the row.

Density counts weights that are not zero: after fill all that is left, without it the share that is
not masked, less than what removal stores. The published speeds say the same of theirs: hybrid at
18.4% is as fast as filled at 24.7%. CNN/DailyMail is left out: bpjax has no such task.

Command:  python experiments/paper_tables.py results
Hardware: any; it only reads reports.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.pruning.methods import method_options
from bpjax.report.environment import name_machine
from bpjax.report.table import align
from bpjax.report.write import find_reports

NEAR = 0.05  # or half of the published density, if that is less
BERT = 85.0  # millions of linear parameters


class Kind(NamedTuple):
    """What has to agree between a published model and a run of ours.

    Attributes:
      pattern: as in the config; "dense" for the model before pruning.
      block: rows × columns of a block; empty for a pattern that has its own.
      method: as in the config.
      variant: of the method: its binarizer, or "permanent".
      filled: whether it was fine-tuned after removal.
      teacher: "own", the dense model, or "large", another one; a report does not tell its size.
      rewind: whether an earlier run's heads were held.
    """

    pattern: str = "hybrid"
    block: tuple[int, ...] = (32, 32)
    method: str = "movement"
    variant: str = "sigmoid_threshold"
    filled: bool = False
    teacher: str = "own"
    rewind: bool = False


class Row(NamedTuple):
    """A published result.

    Attributes:
      name: of the model.
      density: of the linear parameters, against BERT-base.
      speedup: on a GPU, against BERT-base; None where not given. By Lagunas et al. 2021 in padded
        batches of 128.
      metrics: in percent, in the order of the table's, the first ones where not all are given.
      kind: None for a model that no run of ours is compared with.
    """

    name: str
    density: float
    speedup: float | None
    metrics: tuple[float, ...]
    kind: Kind | None = Kind()


class Table(NamedTuple):
    """Published results on one task.

    Attributes:
      title: as printed.
      task: by our name.
      metrics: by our names.
      rows: the results.
    """

    title: str
    task: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


DENSE = Kind(pattern="dense")
FILLED = Kind(filled=True)
LARGE = Kind(filled=True, teacher="large")
BLOCK4, BLOCK32 = (Kind(pattern="block", block=(size, size)) for size in (4, 32))
SOFT = Kind(pattern="unstructured", block=())
MOVEMENT = SOFT._replace(variant="top_k")
MAGNITUDE, L0 = MOVEMENT._replace(method="magnitude"), SOFT._replace(method="l0", variant="")
COFI = Kind(pattern="cofi", block=(), method="cofi", variant="", filled=True)

PUBLISHED = (
    Table(
        "SQuAD v1.1",
        "squad",
        ("f1", "exact_match"),
        (
            Row("BERT-base", 1.0, 1.00, (88.5, 80.8), DENSE),
            Row("DistilBERT", 42 / BERT, 2.06, (86.9,), None),
            Row("TinyBERT", 42 / BERT, 1.88, (87.5,), None),
            Row("MobileBERT", 21 / BERT, 1.61, (90.0,), None),
            Row("hybrid-filled a", 30 / BERT, 1.84, (88.72,), FILLED),
            Row("hybrid-filled b", 21 / BERT, 2.25, (87.68,), FILLED),
            Row("hybrid-filled c", 16 / BERT, 2.69, (86.75,), FILLED),
            Row("large teacher d", 38 / BERT, 1.56, (90.27,), LARGE),
            Row("large teacher e", 20 / BERT, 2.31, (88.31,), LARGE),
            Row("large teacher f", 16 / BERT, 2.62, (87.16,), LARGE),
            Row("hybrid, λ 5", 0.245, 1.97, (88.07,)),
            Row("hybrid, λ 10", 0.184, 2.26, (87.15,)),
            Row("hybrid, λ 20", 0.128, 2.70, (86.12,)),
            Row("block 32x32, λ 10", 0.388, 1.56, (87.36,), BLOCK32),
            Row("block 4x4", 0.226, 1.30, (87.4,), BLOCK4),
            Row("CoFi, 2×", 0.40, 2.0, (89.1,), COFI),
            Row("CoFi, 12×", 0.05, 12.0, (82.6,), COFI),
        ),
    ),
    Table(
        "SQuAD v1.1, single weights (Sanh et al. 2020)",
        "squad",
        ("f1",),
        (
            Row("BERT-base", 1.0, None, (88.1,), DENSE),
            Row("magnitude, 10%", 0.10, None, (80.1,), MAGNITUDE),
            Row("L0, 10%", 0.10, None, (81.9,), L0),
            Row("movement, 10%", 0.10, None, (84.3,), MOVEMENT),
            Row("soft movement, 10%", 0.10, None, (84.9,), SOFT),
            Row("magnitude, 3%", 0.03, None, (59.6,), MAGNITUDE),
            Row("L0, 3%", 0.03, None, (75.8,), L0),
            Row("movement, 3%", 0.03, None, (78.0,), MOVEMENT),
            Row("soft movement, 3%", 0.03, None, (82.3,), SOFT),
        ),
    ),
    Table(
        "MNLI",
        "mnli",
        ("accuracy", "accuracy_mismatched"),
        (
            Row("BERT-base", 1.0, 1.00, (84.6, 83.4), DENSE),
            Row("hybrid-filled a", 29 / BERT, 2.12, (83.7, 84.1), FILLED),
            Row("hybrid-filled b", 15 / BERT, 3.11, (82.7, 82.7), FILLED),
            Row("CoFi, 2×", 0.40, 2.0, (85.3,), COFI),
            Row("CoFi, 12×", 0.05, 12.0, (80.6,), COFI),
        ),
    ),
    Table(
        "QQP",
        "qqp",
        ("f1", "accuracy"),
        (
            Row("BERT-base", 1.0, None, (88.1, 91.2), DENSE),
            Row("hybrid a", 42 / BERT, None, (88.3, 91.3)),
            Row("hybrid b", 15 / BERT, None, (87.4, 90.6)),
            Row("hybrid c", 7 / BERT, None, (86.4, 89.9)),
        ),
    ),
    Table(
        "SST-2",
        "sst2",
        ("accuracy",),
        (
            Row("BERT-base", 1.0, None, (92.7,), DENSE),
            Row("hybrid a", 41 / BERT, None, (92.0,)),
            Row("hybrid b", 18 / BERT, None, (90.6,)),
            Row("hybrid c", 11 / BERT, None, (90.4,)),
            Row("CoFi, 2×", 0.40, 2.0, (93.0,), COFI),
            Row("CoFi, 12×", 0.05, 12.0, (90.4,), COFI),
        ),
    ),
)


def main() -> None:
    """Prints every table that bpjax has a task for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders above reports")
    options = parser.parse_args()
    try:
        reports = find_reports(options.folders)
    except UserError as error:
        parser.error(str(error))
    for table in PUBLISHED:
        print(f"\n{table.title}\n{format_table(table, reports)}")


def format_table(table: Table, reports: list[dict[str, Any]]) -> str:
    """Published and ours, side by side."""
    columns = ("density", *table.metrics, "speedup")
    lines = [("", *columns, "ours: model", "rows", *columns, "machine")]
    for row in table.rows:
        empty = [""] * (len(table.metrics) - len(row.metrics))
        published = [_percent(row.density), *map(_number, row.metrics), *empty, _times(row.speedup)]
        lines.append((row.name, *published, *_ours(table, row, reports)))
    return align(lines, left=(0, 1 + len(columns), len(lines[0]) - 1))


def kind_of(report: dict[str, Any]) -> Kind:
    """The kind of a run."""
    config = report["config"]
    pattern, method, pruning = report["pattern"], report["method"], config["pruning"]
    options = pruning.get(method, {})
    binarizer = options.get("binarizer", method_options(method).get("binarizer", ""))
    other = config["distillation"].get("source") or ""
    return Kind(
        pattern=pattern,
        block=tuple(pruning["block"]) if pattern in ("block", "hybrid") else (),
        method=method,
        variant="permanent" if options.get("permanent") else binarizer,
        filled=config["fill"]["epochs"] > 0,
        teacher="own" if other in ("", config["teacher"]["source"]) else "large",
        rewind=bool(config["prune"].get("rewind")),
    )


def _ours(table: Table, row: Row, reports: list[dict[str, Any]]) -> list[str]:
    found = [
        report
        for report in reports
        if report["task"] == table.task
        and not report["config"]["task"].get("holdout")
        and _fits(row, report)
    ]
    if not found:
        return [""] * (5 + len(table.metrics))
    best = min(found, key=lambda r: (-(_rows(row, r) or 0), abs(_density(row, r) - row.density)))
    rows, part = _rows(row, best), "dense" if row.kind == DENSE else "pruned"
    shape, speedup = list(best["speedup"].items())[-1]
    return [
        best["model"],
        f"{rows:,}" if rows else "",
        _percent(_density(row, best)),
        *(_number(best[part]["metrics"].get(metric)) for metric in table.metrics),
        *(
            ("", "")
            if row.kind == DENSE
            else (f"{_times(speedup)} at {shape}", name_machine(best["environment"]))
        ),
    ]


def _fits(row: Row, report: dict[str, Any]) -> bool:
    if row.kind is None:
        return False
    distance = abs(_density(row, report) - row.density)
    return row.kind in (kind_of(report), DENSE) and distance <= min(NEAR, row.density / 2)


def _rows(row: Row, report: dict[str, Any]) -> int | None:
    """Training rows; None where the report does not tell, as that of a teacher from elsewhere."""
    config = report["config"]
    if row.kind == DENSE and config["teacher"]["source"]:
        return None
    return report.get("rows", {}).get("train") or config["task"].get("limit") or None


def _density(row: Row, report: dict[str, Any]) -> float:
    if row.kind == DENSE:
        return 1.0
    filled = report["config"]["fill"]["epochs"] > 0
    return report["density"] if filled else report["masked"]["final_density"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"


if __name__ == "__main__":
    main()
