"""What came out of a compression, as a table."""

from collections.abc import Sequence

from bpjax.compression.run import Compressed
from bpjax.report.table import align


def format_made(made: Sequence[Compressed], shape: str = "8x128") -> str:
    """A row a model: what was asked for, what it is, and what it lost.

    Args:
      made: of `compress`.
      shape: at which speed is told.
    """
    first = made[0].report["dense"]
    metric = next(iter(first["metrics"]))
    rows: list[tuple[str, ...]] = [("model", metric, "of dense", "faster", "density", "MB")]
    rows.append(("dense", f"{first['metrics'][metric]:.2f}", "", "", "", _megabytes(first)))
    for name, _, report in made:
        pruned, dense = (report[key]["metrics"][metric] for key in ("pruned", "dense"))
        rows.append(
            (
                name,
                f"{pruned:.2f}",
                f"{pruned - dense:+.2f}",
                f"{report['speedup'][shape]:.2f}×",
                f"{report['density']:.1%}",
                _megabytes(report["pruned"]),
            )
        )
    return align(rows, left=(0,))


def _megabytes(measured: dict) -> str:
    return f"{measured['bytes_on_disk'] / 1e6:.1f}"
