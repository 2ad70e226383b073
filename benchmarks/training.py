"""Training steps: ours, plain and hybrid-masked, beside PyTorch's plain one."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.models import BASE, MINILM
from benchmarks.steps import StepCall
from bpjax import models
from bpjax.measure.latency import measure_latency, random_batch

CASES = (
    ("MiniLM", MINILM, (32, 14)),
    ("MiniLM", MINILM, (32, 64)),
    ("MiniLM", MINILM, (8, 384)),
    ("BERT-base", BASE, (8, 128)),
)


def time_training(*, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every case in float32 and with bfloat16 products: a row each."""
    rows = []
    for name, config, (size, length) in CASES:
        params = models.init(config, jax.random.key(0))
        tokens = random_batch(models.inputs(config), size, length)
        batch = {
            **tokens,
            "label": jnp.zeros(size, jnp.int32),
            "weight": jnp.ones(size),
        }
        ours = {
            (dtype, kind): StepCall(config, params, batch, masked=kind == "masked", dtype=dtype)
            for dtype in ("float32", "bfloat16_products")
            for kind in ("plain", "masked")
        }
        theirs = peers.torch_step(peers.make_torch(config, params), peers.tensors(tokens))
        medians = measure_latency(
            {**ours, ("torch", ""): theirs}, rounds=rounds, seconds=seconds, warmup=2
        )
        for dtype in ("float32", "bfloat16_products"):
            plain, masked = medians[dtype, "plain"], medians[dtype, "masked"]
            rows.append(
                {
                    "model": name,
                    "shape": f"{size}x{length}",
                    "dtype": dtype,
                    "plain_ms": plain,
                    "masked_ms": masked,
                    "masked_over_plain": masked / plain,
                    "masked_over_plain_bytes": ours[dtype, "masked"].peak_bytes()
                    / ours[dtype, "plain"].peak_bytes(),
                    "torch_ms": medians["torch", ""],
                    "ratio_torch": medians["torch", ""] / plain,
                    "ratio_torch_masked": medians["torch", ""] / masked,
                }
            )
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    return rows
