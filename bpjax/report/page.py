"""report.html: a run, or several side by side, as one file that needs nothing else."""

import base64
import errno
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from bpjax.files import write_whole
from bpjax.pruning.summary import SublayerSummary
from bpjax.report.classes import class_rows
from bpjax.report.compare import Group, count_labels, group_rows
from bpjax.report.environment import name_machine
from bpjax.report.pareto import plot_pareto
from bpjax.report.sizes import ATTENTION, dense_sizes_of, encoder_sizes, sizes_of
from bpjax.report.table import report_rows, size_rows

FILE = "report.html"

MODELS = ("dense", "pruned")

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_run_page(
    report: Mapping[str, Any],
    summaries: Sequence[SublayerSummary],
    folder: Path,
) -> Path:
    """Writes `folder`/report.html.

    Args:
      report: as in report.json, see `bpjax.report.write.KEYS`.
      summaries: what the masks left of each sublayer, before surgery.
      folder: of the run; its pictures, masks.png and curves.png, are put into the page.

    Returns:
      The path of the file.
    """
    pictures = {
        title: _inline((folder / name).read_bytes())
        for title, name in (("Curves", "curves.png"), ("Masks", "masks.png"))
        if (folder / name).is_file()
    }
    attention = [each for each in summaries if each.kind == ATTENTION]
    metric = next(iter(report["dense"]["metrics"]))
    return _write(
        "run.html",
        folder / FILE,
        title=f"{report['task']}: {report['model']} pruned",
        report=report,
        metric=metric,
        shape=list(report["speedup"])[-1],
        machine=name_machine(report["environment"]),
        rows=report_rows(report),
        class_rows=class_rows({name: report[name].get("classes", {}) for name in MODELS}),
        attention=attention,
        roles=list(dict.fromkeys(role for each in attention for role in each.unit_kernels)),
        kept=encoder_sizes(sizes_of(report)),
        dense=encoder_sizes(dense_sizes_of(report)),
        size_rows=size_rows(report),
        pictures=pictures,
        config=json.dumps(report["config"], indent=2, ensure_ascii=False),
    )


def write_comparison_page(groups: Sequence[Group], shape: str, path: Path) -> Path:
    """Writes a page of many runs: the Pareto plot, and a row for each group.

    Args:
      groups: of `compare.gather`.
      shape: "BATCHxLENGTH" whose speedup is drawn.
      path: of the page.
    """
    picture = io.BytesIO()
    plot_pareto(groups, shape, picture)
    reports = [report for group in groups for report in group.reports]
    return _write(
        "comparison.html",
        path,
        title=f"{reports[0]['task']}: {len(reports)} runs",
        rows=group_rows(groups),
        labels=count_labels(groups),
        picture=_inline(picture.getvalue()),
        commands=[report["command"] for report in reports],
    )


def _write(template: str, path: Path, **values: Any) -> Path:
    text = _TEMPLATES.get_template(template).render(**values)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return write_whole(path, text)


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
