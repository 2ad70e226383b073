"""Speeds of MiniLM runs that were made elsewhere, or beside other work, measured on this machine.

Speed depends on sizes alone, so that the models themselves are not needed. Of each report latencies
and speedups are replaced, and `environment`, which tells where they were measured; what stood there
becomes `trained`.

Command:  python -m benchmarks.retime results/h200
Hardware: 2 CPU cores without other work; about 20 seconds for models of one size.
"""

import argparse
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks.models import MINILM
from bpjax import models
from bpjax.measure.latency import SHAPES, compare_latency
from bpjax.models import describe
from bpjax.pruning.structure import Sizes, sizes_of
from bpjax.report.environment import describe_environment
from bpjax.report.write import FILE, read_report, write_report
from bpjax.runtime import configure_runtime
from bpjax.training.evaluation import forward

Latency = Mapping[str, Mapping[str, float]]


def main() -> None:
    """Measures, rewrites the reports and prints the speedups."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of reports, or above some")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    configure_runtime()
    measured: dict[tuple[Any, ...], Latency] = {}
    for path in sorted(path for each in options.folders for path in each.rglob(FILE)):
        report = read_report(path.parent)
        if report["dense_sizes"] != sizes_of(describe(MINILM)).units:
            raise SystemExit(f"{path}: expected a run of MiniLM")
        sizes = Sizes(report["sizes"], {"hidden": report["pruned"]["hidden_size"]})
        key = (*sizes.units.items(), *sizes.streams.items())
        if key not in measured:
            measured[key] = _measure(sizes, options.rounds)
        write_report(_retimed(report, measured[key]), path.parent)
        speeds = {shape: round(x, 2) for shape, x in read_report(path.parent)["speedup"].items()}
        print(path.parent, speeds, flush=True)


def _measure(sizes: Sizes, rounds: int) -> Latency:
    configs = {"dense": MINILM, "pruned": models.resize(MINILM, sizes)}
    timed = {
        name: (functools.partial(forward, config), models.init(config, jax.random.key(0)))
        for name, config in configs.items()
    }
    return compare_latency(timed, SHAPES, inputs=models.inputs(MINILM), rounds=rounds)


def _retimed(report: dict[str, Any], latency: Latency) -> dict[str, Any]:
    dense, pruned = latency["dense"], latency["pruned"]
    return report | {
        **{name: report[name] | {"latency_ms": dict(latency[name])} for name in latency},
        "speedup": {shape: dense[shape] / pruned[shape] for shape in dense},
        "trained": report.get("trained", report["environment"]),
        "environment": describe_environment(),
    }


if __name__ == "__main__":
    main()
