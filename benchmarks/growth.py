"""How cost grows: with the model's size, the number of blocks, the length, the matrices scored.

Command:  python -m benchmarks.growth
Hardware: 2 CPU cores without other work; about 10 minutes.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import gemm_gflops
from benchmarks.models import BASE, LARGE, MINILM
from bpjax import models
from bpjax.measure.flops import forward_flops
from bpjax.measure.latency import compare_latency, measure_latency, random_batch
from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.pruning import surgery
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection, make_pattern
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime
from bpjax.training.evaluation import forward

MODELS = {"MiniLM": MINILM, "BERT-base": BASE, "BERT-large": LARGE}
LENGTHS = (16, 32, 64, 128, 256, 384, 512)
BLOCKS = (1, 4, 8, 16, 32, 64)
KEPT = 0.25  # of heads and of dimensions in the models that surgery cuts


def main() -> None:
    """Measures, writes the JSON and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/bench/growth.json"))
    options = parser.parse_args()
    configure_runtime()
    tables = {
        "model": [_of_model(name, config) for name, config in MODELS.items()],
        "length": _of_length(MINILM),
        "blocks": _of_masks(
            {f"{b}x{b}": make_pattern("block", bert.describe(MINILM), (b, b)) for b in BLOCKS}
        ),
        "matrices": _of_masks(
            _first_groups(make_pattern("block", bert.describe(MINILM), (32, 32)))
        ),
        "start": _of_start(),
    }
    report = {"gemm_gflops": gemm_gflops(), "environment": describe_environment(), **tables}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")
    for name, rows in tables.items():
        print(f"\n{name}\n{_format(rows)}")


def _of_model(name: str, config: BertConfig) -> dict[str, Any]:
    """Surgery of a hybrid-masked model, checked on a batch, in the time that a user waits."""
    params = models.init(config, jax.random.key(0))
    structure = bert.describe(config)
    masks = build_mask_collection(
        pattern := make_pattern("hybrid", structure, (32, 32)), _draw(pattern, structure)
    )
    batch = random_batch(models.inputs(config), 8, 128)
    started = time.perf_counter()
    small = surgery.shrink(apply_masks(params, masks), structure)
    cut = time.perf_counter() - started
    smaller = config.replace(heads=small.heads, intermediate=small.intermediate)
    compiled = jax.jit(functools.partial(forward, config))
    before = np.asarray(compiled(params, batch, masks))
    after = np.asarray(jax.jit(functools.partial(forward, smaller))(small.params, batch))
    return {
        "model": name,
        "linear_params": config.linear_parameters(),
        "density": smaller.linear_parameters() / config.linear_parameters(),
        "surgery_s": cut,
        "surgery_and_check_s": time.perf_counter() - started,
        "max_abs_diff": float(np.abs(before - after).max()),
    }


def _draw(pattern: Pattern, structure: Any) -> dict[str, np.ndarray]:
    # Whole heads die where their part of the value kernel does: columns of blocks, not blocks.
    generator = np.random.default_rng(0)
    values = {}
    for group in pattern.groups:
        columns = (generator.random(group.shape[-1]) < KEPT).astype(np.float32)
        values[group.name] = np.broadcast_to(columns, group.shape).copy()
        if group.name.endswith("output"):
            values[group.name] = np.ones(group.shape, np.float32)
    return values


def _of_length(config: BertConfig) -> list[dict[str, Any]]:
    """The same number of tokens in rows of different length."""
    params = models.init(config, jax.random.key(0))
    rows = []
    for length in LENGTHS:
        shape = (4096 // length, length)
        model = {"ms": (functools.partial(forward, config), params)}
        taken = compare_latency(model, [shape], inputs=models.inputs(config), seconds=8)
        milliseconds = next(iter(taken["ms"].values()))
        rows.append(
            {
                "shape": "x".join(map(str, shape)),
                "ms": milliseconds,
                "gflops": forward_flops(models.describe(config), *shape) / milliseconds / 1e6,
            }
        )
    return rows


def _first_groups(pattern: Pattern) -> dict[str, Pattern]:
    count = len(pattern.groups)
    return {
        str(n): Pattern(pattern.name, pattern.groups[:n])
        for n in (1, count // 4, count // 2, count)
    }


def _of_masks(patterns: dict[str, Pattern]) -> list[dict[str, Any]]:
    """Gradient of parameters and mask values at 32×16, over that without masks."""
    config = MINILM
    params = models.init(config, jax.random.key(0))
    batch = random_batch(models.inputs(config), 32, 16)

    def gradient_of(pattern: Pattern) -> Any:
        def loss(params: dict, values: dict) -> jax.Array:
            return forward(config, params, batch, build_mask_collection(pattern, values)).sum()

        values = {group.name: np.ones(group.shape, np.float32) for group in pattern.groups}
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, values).compile()
        return lambda: compiled(params, values)

    calls = {name: gradient_of(pattern) for name, pattern in patterns.items()}
    plain = "none"
    taken = measure_latency(
        {plain: gradient_of(Pattern(plain, ())), **calls}, rounds=12, seconds=60
    )
    return [
        {
            "pattern": name,
            "scores": sum(int(np.prod(group.shape)) for group in pattern.groups),
            "ms": taken[name],
            "over_plain": taken[name] / taken[plain],
        }
        for name, pattern in patterns.items()
    ]


_START = r"""
import time
started = time.perf_counter()
from bpjax.runtime import configure_runtime
configure_runtime()
import pathlib
import re
import jax
from benchmarks.models import MINILM
from benchmarks.steps import StepCall
from bpjax.measure.latency import random_batch
from bpjax.models import bert
import jax.numpy as jnp
batch = {**random_batch(models.inputs(MINILM), 32, 16), "label": jnp.zeros(32, jnp.int32),
         "weight": jnp.ones(32)}
step = StepCall(MINILM, models.init(MINILM, jax.random.key(0)), batch, masked=True, dtype="float32")
jax.block_until_ready(step())
# Not resource.getrusage, whose peak is inherited from the process that started this one.
peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(time.perf_counter() - started, peak)
"""


def _of_start() -> list[dict[str, Any]]:
    """From a new process to the end of its first hybrid-masked step at 32×16, twice."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold cache", "warm cache"):
            printed = subprocess.run(
                [sys.executable, "-c", _START],
                env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
            rows.append(
                {"start": name, "seconds": float(printed[0]), "peak_mb": int(printed[1]) / 1024}
            )
    return rows


def _format(rows: list[dict[str, Any]]) -> str:
    cells = [tuple(rows[0])]
    for row in rows:
        cells.append(
            tuple(
                f"{x:.3g}" if isinstance(x, float) else f"{x:,}" if isinstance(x, int) else x
                for x in row.values()
            )
        )
    return align(cells, left=(0,))


if __name__ == "__main__":
    main()
