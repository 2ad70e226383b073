"""bpjax on this GPU beside PyTorch (bfloat16, SDPA, torch.compile), in one run.

Command:  python -m benchmarks.gpu
Hardware: one GPU; about 10 minutes. bpjax has not run it on one yet. `--small` only tries whether
          it runs, anywhere.

Needs torch beside what the core of bpjax imports; neither grain nor TFDS nor ml_collections.
"""

import argparse
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch wants some too

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import peers
from benchmarks.machine import gemm_gflops
from benchmarks.models import BASE, BASE_15, BASE_26, LARGE, LARGE_26, MINILM, MINILM_SST2
from benchmarks.steps import StepCall
from bpjax import models
from bpjax.measure.flops import forward_flops, theoretical_speedup
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.bert import BertConfig
from bpjax.models.layers import attention
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime
from bpjax.training.evaluation import forward
from bpjax.training.terms import Teacher

TRAINING = (
    ("MiniLM", MINILM, (128, 384)),
    ("BERT-base", BASE, (64, 384)),
    ("BERT-large", LARGE, (32, 384)),
)
INFERENCE = (
    ("MiniLM", {"dense": MINILM, "pruned": MINILM_SST2}),
    ("BERT-base", {"dense": BASE, "26%": BASE_26, "15%": BASE_15}),
    ("BERT-large", {"dense": LARGE, "26%": LARGE_26}),
)
SHAPES = ((128, 384), (128, 128), (1, 128))
BACKWARD = 2  # times the forward pass's operations
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    """Measures, writes the JSON and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="default: results/bench/gpu.json")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15.0, help="for one shape of one model")
    parser.add_argument("--small", action="store_true", help="tiny shapes, of MiniLM alone")
    options = parser.parse_args()
    configure_runtime()
    gemm = gemm_gflops("bfloat16", size=256 if options.small else 8192)
    limits = {"rounds": options.rounds, "seconds": options.seconds}
    training, inference, shapes = TRAINING, INFERENCE, SHAPES
    if options.small:
        training, inference, shapes = (("MiniLM", MINILM, (2, 8)),), INFERENCE[:1], ((2, 8),)
    environment = describe_environment()
    environment["versions"] |= {"torch": torch.__version__}
    report = {
        "gemm_gflops_bfloat16": gemm,
        "environment": environment,
        "attention_max_abs_diff": _compare_attention(),
        "training": [_time_training(*case, gemm, **limits) for case in training],
        "inference": [
            row
            for name, variants in inference
            for shape in shapes
            for row in _time_inference(name, variants, shape, gemm, **limits)
        ],
    }
    path = options.results or (None if options.small else Path("results/bench/gpu.json"))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
    for rows in (report["training"], report["inference"]):
        cells = [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in r.values()] for r in rows]
        print(align([list(rows[0]), *cells], left=(0, 1)), end="\n\n")


def _compare_attention() -> float | None:
    """Flash attention against the plain form, values and gradients; None where there is none."""
    keys = jax.random.split(jax.random.key(0), 4)
    query, key, value, pull = (jax.random.normal(k, (4, 384, 12, 64), jnp.bfloat16) for k in keys)
    mask = (jnp.arange(384) < jnp.array([[384], [200], [7], [1]])).astype(jnp.int32)
    if not attention._fits_flash(query):
        return None

    def results(form: Callable[..., jax.Array], dtype: str) -> Any:
        inputs = [x.astype(dtype) for x in (query, key, value)]
        mixed, back = jax.vjp(functools.partial(form, mask=mask), *inputs)
        return [np.asarray(x, np.float32) for x in (mixed, *back(pull.astype(dtype)))]

    batched = functools.partial(attention._attend_batched, dropout=0.0, rng=None)
    flash, plain = results(attention._attend_flash, "bfloat16"), results(batched, "float32")
    return max(float(np.abs(x - y).max()) for x, y in zip(flash, plain, strict=True))


def _time_training(
    name: str, config: BertConfig, shape: tuple[int, int], gemm: float, **limits: Any
) -> dict[str, Any]:
    """Plain and hybrid-masked with distillation, beside PyTorch's plain step, compiled."""
    params = models.init(config, jax.random.key(0))
    tokens = random_batch(models.inputs(config), *shape)
    batch = {**tokens, "label": jnp.zeros(shape[0], jnp.int32), "weight": jnp.ones(shape[0])}
    peers.forget_compiled()
    half = {"dtype": "bfloat16"}
    model = peers.make_torch(config, params).to(DEVICE)
    theirs = peers.torch_step(peers.compile_torch(model), _tensors(tokens), autocast=DEVICE.type)
    taken = measure_latency(
        {
            "plain": StepCall(config, params, batch, masked=False, **half),
            "hybrid": StepCall(
                config, params, batch, masked=True, teacher=Teacher(config, params), **half
            ),
            "torch": _waiting(theirs),
        },
        **limits,
    )
    done = (1 + BACKWARD) * forward_flops(models.describe(config), *shape)
    return {
        "model": name,
        "shape": "x".join(map(str, shape)),
        "mfu": done / taken["plain"] / 1e6 / gemm,
        "ratio_torch": taken["torch"] / taken["plain"],
        "hybrid_over_plain": taken["hybrid"] / taken["plain"],
        **{f"{kind}_ms": milliseconds for kind, milliseconds in taken.items()},
    }


def _time_inference(
    name: str,
    variants: dict[str, BertConfig],
    shape: tuple[int, int],
    gemm: float,
    **limits: Any,
) -> list[dict[str, Any]]:
    """Every variant of a model, ours and PyTorch's, in turns."""
    peers.forget_compiled()
    calls: dict[Any, Callable[[], Any]] = {}
    for variant, config in variants.items():
        params = models.init(config, jax.random.key(0))
        tokens = random_batch(models.inputs(config), *shape)
        half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
        ours = jax.jit(functools.partial(forward, config.replace(dtype="bfloat16")))
        compiled = ours.lower(half, tokens).compile()
        model = peers.make_torch(config, params).to(DEVICE, torch.bfloat16)
        calls[variant, "ms"] = functools.partial(compiled, half, tokens)
        calls[variant, "torch_ms"] = _waiting(
            peers.torch_call(peers.compile_torch(model), _tensors(tokens))
        )
    taken = measure_latency(calls, **limits)
    dense = next(iter(variants))
    return [
        {
            "model": name,
            "variant": variant,
            "shape": "x".join(map(str, shape)),
            "ratio_torch": taken[variant, "torch_ms"] / taken[variant, "ms"],
            "speedup": taken[dense, "ms"] / taken[variant, "ms"],
            "theoretical_speedup": theoretical_speedup(
                models.describe(variants[dense]), models.describe(config), *shape
            ),
            "mfu": forward_flops(models.describe(config), *shape)
            / taken[variant, "ms"]
            / 1e6
            / gemm,
            "ms": taken[variant, "ms"],
            "torch_ms": taken[variant, "torch_ms"],
        }
        for variant, config in variants.items()
    ]


def _tensors(tokens: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value.to(DEVICE) for name, value in peers.tensors(tokens).items()}


def _waiting(call: Callable[[], Any]) -> Callable[[], Any]:
    # PyTorch returns before its GPU is done, and nobody else waits for it.
    def waited() -> None:
        call()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return waited


if __name__ == "__main__":
    main()
