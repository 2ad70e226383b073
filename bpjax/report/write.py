"""report.json: the one file that tables, plots and sweeps are drawn from."""

import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bpjax.errors import UserError
from bpjax.files import write_whole
from bpjax.report.sizes import has_sizes

FILE = "report.json"

MODEL_KEYS = ("metrics", "linear_params", "total_params", "bytes_on_disk", "latency_ms")
"""What is told of each model, `dense` and `pruned`. Latency is by "BATCHxLENGTH"."""

KEYS: dict[str, tuple[str, ...]] = {
    "task": (),
    "model": (),
    "pattern": (),
    "method": (),
    "seed": (),
    "command": (),
    "config": (),
    "environment": (),
    "seconds": (),  # by stage
    "dense": MODEL_KEYS,
    "pruned": MODEL_KEYS,
    "density": (),  # linear parameters kept, a fraction
    "speedup": (),  # measured, by "BATCHxLENGTH"
    "theoretical_speedup": (),  # by "BATCHxLENGTH"
    "equivalence": ("max_abs_diff", "examples"),
}
"""Keys that every report has, and the keys inside them. A report may have more.

What is left of each sublayer comes on top, as `sizes` and `dense_sizes`: see `report.sizes`.
"""


def write_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> pathlib.Path:
    """Writes `folder`/report.json: either the whole of it or, on a failure, nothing.

    Numpy scalars and arrays become numbers and lists; a number that is not finite becomes null,
    because JSON has none.

    Args:
      report: holds at least `KEYS` and the sizes.
      folder: exists.

    Returns:
      The path of the file.

    Raises:
      ValueError: keys are missing; the message lists them.
      TypeError: a value has no form in JSON.
    """
    missing = find_missing(report)
    if missing:
        raise ValueError(
            f"report without {', '.join(missing)}: expected all of report.write.KEYS, and its sizes"
        )
    return write_whole(pathlib.Path(folder) / FILE, to_json(report) + "\n")


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON of arrays too; null for a number that is not finite.

    Raises:
      TypeError: a value has no form in JSON.
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `folder`/report.json.

    Raises:
      UserError: there is none, or it is not a whole report.
    """
    path = pathlib.Path(folder) / FILE
    return _require_whole(path, _read(path))


def find_reports(folders: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """Reads the reports of runs in and under some folders, each folder's in order of their paths.

    A file of that name which tells of no pruned model, such as a benchmark's, is passed over. So is
    a report that was read already, where one folder lies in another or is named again.

    Raises:
      UserError: a folder without a report, or a report that is not whole.
    """
    reports: dict[pathlib.Path, dict[str, Any]] = {}
    for folder in folders:
        paths = sorted(folder.rglob(FILE), key=lambda path: path.parent)
        told = {path: _read(path) for path in paths}
        found = {
            path.resolve(): _require_whole(path, told[path])
            for path in paths
            if "pruned" in told[path]
        }
        if not found:
            raise UserError(
                f"{folder}: expected a finished run's folder, or one above some; no run's {FILE} "
                "there"
            )
        reports |= found
    return list(reports.values())


def _require_whole(path: pathlib.Path, report: Any) -> dict[str, Any]:
    missing = find_missing(report)
    if missing:
        raise UserError(
            f"{path}: expected the report of a finished run, found none of {', '.join(missing)}; "
            "run `bpjax run` to its end"
        )
    return report


def find_missing(report: Any) -> list[str]:
    """Keys of `KEYS` that `report` lacks, inner ones as "dense.metrics"; "sizes" without any."""
    if not isinstance(report, Mapping):
        return [*KEYS, "sizes"]
    missing = []
    for key, inner in KEYS.items():
        if key not in report:
            missing.append(key)
            continue
        missing += [f"{key}.{name}" for name in inner if name not in report[key]]
    return missing if has_sizes(report) else [*missing, "sizes"]


def _read(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: expected the report of a finished run ({error}); run `bpjax run` to its end"
        ) from error


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case float() if not math.isfinite(value):
            return None
        case os.PathLike():
            return os.fspath(value)
        case _:
            return value
