"""Forward passes: ours beside PyTorch, torch.compile and ONNX Runtime, call by call."""

import functools
from typing import Any

import jax
import numpy as np

from benchmarks import peers
from benchmarks.models import MODELS, SHAPES
from benchmarks.onnx_peer import ort_call
from bpjax import models
from bpjax.measure.flops import forward_flops, theoretical_speedup
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.bert import BertConfig
from bpjax.training.evaluation import forward

TOLERANCE = 2e-4  # of logits: peers that compute something else are not compared


def time_inference(
    gemm: float, *, rounds: int, seconds: float, seed: int = 0
) -> list[dict[str, Any]]:
    """Every model, variant and shape: a row each.

    Args:
      gemm: rate of the machine, in GFLOP/s.
      rounds: calls of each at most.
      seconds: time for one shape of one model.
      seed: of the weights and the tokens.
    """
    rows = []
    for model, variants in MODELS.items():
        parts = {}
        for variant, config in variants.items():
            params = models.init(config, jax.random.key(seed))
            parts[variant] = (config, params, peers.make_torch(config, params))
        for shape in SHAPES:
            found = _time_shape(parts, shape, rounds, seconds)
            dense, dense_ms = next(iter(variants.values())), next(iter(found.values()))["ms"]
            for variant, times in found.items():
                config = variants[variant]
                flops = forward_flops(models.describe(config), *shape)
                rate = flops / times["ms"] / 1e6
                rows.append(
                    {
                        "model": model,
                        "variant": variant,
                        "shape": "x".join(map(str, shape)),
                        **times,
                        "gflops": rate,
                        "share_of_gemm": rate / gemm,
                        "ratio_torch": times["torch_ms"] / times["ms"],
                        "ratio_compile": times["compile_ms"] / times["ms"],
                        "ratio_ort": times["ort_ms"] / times["ms"],
                        "speedup": dense_ms / times["ms"],
                        "theoretical_speedup": theoretical_speedup(
                            models.describe(dense), models.describe(config), *shape
                        ),
                    }
                )
                print(_line(rows[-1]), flush=True)
    return rows


def _time_shape(
    parts: dict[str, tuple[BertConfig, dict, Any]],
    shape: tuple[int, int],
    rounds: int,
    seconds: float,
) -> dict[str, dict[str, float]]:
    peers.forget_compiled()
    calls = {}
    for variant, (config, params, model) in parts.items():
        batch = random_batch(models.inputs(config), *shape)
        inputs = peers.tensors(batch)
        compiled = jax.jit(functools.partial(forward, config)).lower(params, batch).compile()
        calls |= {
            (variant, "ms"): functools.partial(compiled, params, batch),
            (variant, "torch_ms"): peers.torch_call(model, inputs),
            (variant, "compile_ms"): peers.torch_call(
                peers.compile_torch(model, freeze=True), inputs
            ),
            (variant, "ort_ms"): ort_call(model, inputs),
        }
        for name in ("torch_ms", "compile_ms", "ort_ms"):
            theirs = np.asarray(calls[variant, name]()).reshape(len(inputs["input_ids"]), -1)
            apart = np.abs(theirs - np.asarray(compiled(params, batch))).max()
            assert apart < TOLERANCE, (variant, shape, name, apart)
    medians = measure_latency(calls, rounds=rounds, seconds=seconds)
    found: dict[str, dict[str, float]] = {variant: {} for variant in parts}
    for (variant, name), milliseconds in medians.items():
        found[variant][name] = milliseconds
    return found


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']} {row['variant']} {row['shape']}: {row['ms']:.1f} ms, "
        f"{row['share_of_gemm']:.0%} of gemm, torch {row['ratio_torch']:.2f}, "
        f"compile {row['ratio_compile']:.2f}, ort {row['ratio_ort']:.2f}, "
        f"speedup {row['speedup']:.2f} of {row['theoretical_speedup']:.2f}"
    )
