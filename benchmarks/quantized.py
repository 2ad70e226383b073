"""Dense and pruned models in float and few bits: metric, bytes, time in bpjax and ONNX Runtime.

All are timed in one process, in turns. Nothing is trained: what is rounded are the models as they
are given, or, where a folder is quantised already, as it was trained. Metrics are of every row to
evaluate on, computed by both engines. Speedups are over the first model in float, in the same
engine.

Command:  python -m benchmarks.quantized DENSE_DIR PRUNED_DIR… --task=sst2 --task.data_dir=data
Hardware: 2 CPU cores without other work; about a minute for a model and preset. Needs bpjax[onnx].
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import onnxruntime

import bpjax
from bpjax import models
from bpjax.config import read_task_options
from bpjax.exports.onnx import open_onnx
from bpjax.exports.outputs import inputs_of, outputs_of
from bpjax.measure.latency import measure_latency, parse_shapes, random_batch
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.inputs import Input, common
from bpjax.models.quantize import PRESETS
from bpjax.models.sources import WEIGHTS
from bpjax.prediction.model import Model
from bpjax.pruning.costs import linear_parameters
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime
from bpjax.stages.opened import fitted
from bpjax.tasks import get_task
from bpjax.training.input import Batching, eval_batches

FLOAT = "float"


class Variant(NamedTuple):
    """One model in one number of bits.

    Attributes:
      name: of the model.
      bits: a preset, or "float".
      density: linear parameters over the first model's.
      megabytes: of the weights as bpjax saves them, and of the ONNX file.
      metrics: by engine and name, in percent.
      inputs: of the model.
      calls: by engine: answers a batch.
    """

    name: str
    bits: str
    density: float
    megabytes: dict[str, float]
    metrics: dict[str, dict[str, float]]
    inputs: tuple[Input, ...]
    calls: dict[str, Callable[[dict[str, Any]], Any]]


def main() -> None:
    """Measures, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="the dense one first")
    parser.add_argument("--task", required=True)
    parser.add_argument("--presets", nargs="+", default=["int8", "int8_tensor"], choices=PRESETS)
    parser.add_argument("--shapes", nargs="+", default=["8x128", "1x128"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--results", type=Path, default=Path("results/bench/quantized.json"))
    options, rest = parser.parse_known_args()
    configure_runtime()
    chosen = read_task_options(options.task, rest)

    variants: list[Variant] = []
    whole: int | None = None
    for path in options.models:
        model = bpjax.load(path)
        linear = sum(linear_parameters(models.describe(model.config)).values())
        whole = whole or linear
        asked = [None] if model.config.quantization else [None, *options.presets]
        for preset in asked:
            found = bpjax.quantize(model, preset) if preset else model
            variants.append(_variant(path, found, preset, linear / whole, options.task, chosen))
            print(f"{path} {variants[-1].bits}: {variants[-1].metrics}", flush=True)
    times = _time(variants, options.shapes, options.rounds)
    rows = [{**each._asdict(), "latency_ms": times[i]} for i, each in enumerate(variants)]
    for row in rows:
        del row["calls"], row["inputs"]
    environment = describe_environment()
    environment["versions"] |= {"onnxruntime": onnxruntime.__version__}
    report = {"task": options.task, "quantized": rows, "environment": environment}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")
    print(format_table(rows))


def _variant(
    path: Path,
    model: Model,
    preset: str | None,
    density: float,
    task_name: str,
    options: Mapping[str, Any],
) -> Variant:
    config, params = model
    with tempfile.TemporaryDirectory() as folder:
        saved, exported = Path(folder, "saved"), Path(folder, "onnx")
        save_pretrained(saved, config, params)
        bpjax.export(model, "onnx", exported)
        sizes = {
            "bpjax": (saved / WEIGHTS).stat().st_size / 1e6,
            "onnx": (exported / "model.onnx").stat().st_size / 1e6,
        }
        session = open_onnx(config, exported)
    on_device = jax.device_put(params)
    compiled = jax.jit(lambda params, batch: outputs_of(config, params, batch))

    def in_bpjax(batch: dict[str, Any]) -> Any:
        return compiled(on_device, batch)

    task = fitted(get_task(task_name, **options), path, config, model.tokenizer)
    features = task.evaluation(model.tokenizer)
    metrics = {}
    for engine, call in (("bpjax", in_bpjax), ("onnx", session)):
        said: dict[int, np.ndarray] = {}
        for batch in eval_batches(features, Batching(32, (32, 64, config.max_positions))):
            given = {each.name: batch[each.name] for each in inputs_of(config)}
            answers = np.asarray(call(given))
            said |= {int(i): x for i, x in zip(batch["index"], answers, strict=True) if i >= 0}
        metrics[engine] = task.evaluate(features, [said[i] for i in sorted(said)])
    calls = {"bpjax": in_bpjax, "onnx": session}
    name, bits = path.parent.parent.name, preset or _preset_of(config)
    return Variant(name, bits, density, sizes, metrics, inputs_of(config), calls)


def _preset_of(config: Config) -> str:
    named = {how: name for name, how in PRESETS.items()}
    return f"{named[config.quantization]}, trained" if config.quantization else FLOAT


def _time(
    variants: list[Variant], shapes: list[str], rounds: int
) -> list[dict[str, dict[str, float]]]:
    """Milliseconds by variant, engine and shape."""
    found: list[dict[str, dict[str, float]]] = [{"bpjax": {}, "onnx": {}} for _ in variants]
    for shape, (batch, length) in zip(shapes, parse_shapes(shapes), strict=True):
        given = random_batch(common([each.inputs for each in variants]), batch, length)
        calls = {}
        for i, each in enumerate(variants):
            for engine, call in each.calls.items():
                calls[f"{i} {engine}"] = functools.partial(call, given)
        for key, milliseconds in measure_latency(calls, rounds=rounds).items():
            i, engine = key.split()
            found[int(i)][engine][shape] = milliseconds
    return found


def format_table(rows: list[dict[str, Any]]) -> str:
    """A row for each model and number of bits."""
    shapes = [*rows[0]["latency_ms"]["onnx"]]
    (metric, *_) = rows[0]["metrics"]["bpjax"]
    titles = ["model", "bits", "density", f"{metric} bpjax", f"{metric} ONNX", "MB"]
    titles += [f"{engine} {shape} [ms]" for shape in shapes for engine in ("bpjax", "ONNX")]
    lines = [titles]
    for row in rows:
        line = [row["name"], row["bits"], f"{row['density']:.1%}"]
        line += [f"{row['metrics'][engine][metric]:.2f}" for engine in ("bpjax", "onnx")]
        line.append(f"{row['megabytes']['bpjax']:.1f}")
        for shape in shapes:
            for engine in ("bpjax", "onnx"):
                first, mine = (x["latency_ms"][engine][shape] for x in (rows[0], row))
                line.append(f"{mine:.2f} ({first / mine:.2f}×)")
        lines.append(line)
    return align(lines, left=(0, 1))


if __name__ == "__main__":
    main()
