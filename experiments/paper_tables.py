"""The tables of Lagunas et al. 2021 with the published numbers beside ours.

A cell of ours is a run of movement pruning in the same pattern, evaluated on the development split:
of those within 5 points of the published density one that learnt from most rows, and of these the
nearest. Where none was run it stays empty.

Command:  python experiments/paper_tables.py results
Hardware: any; it only reads reports.
"""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.report.table import align
from bpjax.report.write import find_reports

NEAR = 0.05


class Row(NamedTuple):
    """A published result.

    Attributes:
      table: its title.
      task: ours.
      name: of the row.
      filled: whether it was filled after removal; None for a dense model.
      density: of the linear parameters.
      speedup: on a GPU, padded batches of 128, against BERT-base; None where not given.
      metrics: by our names, in percent.
    """

    table: str
    task: str
    name: str
    filled: bool | None
    density: float
    speedup: float | None
    metrics: dict[str, float]


SQUAD, MNLI, QQP, SST2 = "SQuAD v1.1", "MNLI", "QQP", "SST-2"
BERT = 85.0  # millions of linear parameters

PUBLISHED = (
    Row(SQUAD, "squad", "BERT-base", None, 1.0, 1.0, {"f1": 88.5, "exact_match": 80.8}),
    Row(SQUAD, "squad", "hybrid-filled a", True, 30 / BERT, 1.84, {"f1": 88.72}),
    Row(SQUAD, "squad", "hybrid-filled b", True, 21 / BERT, 2.25, {"f1": 87.68}),
    Row(SQUAD, "squad", "hybrid-filled c", True, 16 / BERT, 2.69, {"f1": 86.75}),
    Row(SQUAD, "squad", "hybrid, λ 5", False, 0.245, 1.97, {"f1": 88.07}),
    Row(SQUAD, "squad", "hybrid, λ 10", False, 0.184, 2.26, {"f1": 87.15}),
    Row(SQUAD, "squad", "hybrid, λ 20", False, 0.128, 2.70, {"f1": 86.12}),
    Row(MNLI, "mnli", "BERT-base", None, 1.0, 1.0, {"accuracy": 84.6, "accuracy_mismatched": 83.4}),
    Row(
        MNLI,
        "mnli",
        "hybrid-filled a",
        True,
        29 / BERT,
        2.12,
        {"accuracy": 83.7, "accuracy_mismatched": 84.1},
    ),
    Row(
        MNLI,
        "mnli",
        "hybrid-filled b",
        True,
        15 / BERT,
        3.11,
        {"accuracy": 82.7, "accuracy_mismatched": 82.7},
    ),
    Row(QQP, "qqp", "BERT-base", None, 1.0, None, {"f1": 88.1, "accuracy": 91.2}),
    Row(QQP, "qqp", "hybrid a", False, 42 / BERT, None, {"f1": 88.3, "accuracy": 91.3}),
    Row(QQP, "qqp", "hybrid b", False, 15 / BERT, None, {"f1": 87.4, "accuracy": 90.6}),
    Row(QQP, "qqp", "hybrid c", False, 7 / BERT, None, {"f1": 86.4, "accuracy": 89.9}),
    Row(SST2, "sst2", "BERT-base", None, 1.0, None, {"accuracy": 92.7}),
    Row(SST2, "sst2", "hybrid a", False, 41 / BERT, None, {"accuracy": 92.0}),
    Row(SST2, "sst2", "hybrid b", False, 18 / BERT, None, {"accuracy": 90.6}),
    Row(SST2, "sst2", "hybrid c", False, 11 / BERT, None, {"accuracy": 90.4}),
)


def main() -> None:
    """Prints every table of the paper that bpjax has a task for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders above reports")
    options = parser.parse_args()
    try:
        reports = find_reports(options.folders)
    except UserError as error:
        parser.error(str(error))
    for title in dict.fromkeys(row.table for row in PUBLISHED):
        rows = [row for row in PUBLISHED if row.table == title]
        print(f"\n{title}\n{format_table(rows, reports)}")


def format_table(rows: list[Row], reports: list[dict[str, Any]]) -> str:
    """Published and ours, side by side."""
    metrics = list(rows[0].metrics)
    lines = [("", "density", *metrics, "speedup", "ours: model", "density", *metrics, "speedup")]
    for row in rows:
        published = [_percent(row.density), *(_number(row.metrics.get(m)) for m in metrics)]
        lines.append((row.name, *published, _times(row.speedup), *_ours(row, reports, metrics)))
    return align(lines, left=(0, 4 + len(metrics) - 1))


def _ours(row: Row, reports: list[dict[str, Any]], metrics: list[str]) -> list[str]:
    found = [
        report
        for report in reports
        if report["task"] == row.task and not report["config"]["task"].get("holdout")
    ]
    part = "dense"
    if row.filled is not None:
        part = "pruned"
        found = [
            report
            for report in found
            if report["pattern"] == "hybrid"
            and report["method"] == "movement"
            and bool(report["config"]["fill"]["epochs"]) == row.filled
            and abs(report["density"] - row.density) <= NEAR
        ]
    if not found:
        return [""] * (3 + len(metrics))
    best = min(found, key=lambda r: (-_rows(r), abs(r["density"] - row.density)))
    density = 1.0 if part == "dense" else best["density"]
    shape, speedup = list(best["speedup"].items())[-1]
    scores = [_number(best[part]["metrics"].get(metric)) for metric in metrics]
    shown = "" if part == "dense" else f"{_times(speedup)} at {shape}"
    return [best["model"], _percent(density), *scores, shown]


def _rows(report: dict[str, Any]) -> float:
    """The most training rows that a run may have learnt from."""
    limit = report["config"]["task"].get("limit") or math.inf
    return report.get("rows", {}).get("train", limit)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"


if __name__ == "__main__":
    main()
