"""bpjax on this GPU, beside PyTorch (bfloat16, SDPA, torch.compile) where that is installed.

Command:  python -m benchmarks.gpu
          python -m benchmarks.gpu --sections=training,fusions --results=runs/gpu.json
Hardware: one GPU, at most 5 minutes: no section begins later. `--small` only tries whether it runs,
          anywhere.

Each section is saved as it ends. Nothing but the core install is needed.
"""

import argparse
import functools
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch wants some too

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.fusions import largest
from benchmarks.machine import gemm_gflops
from benchmarks.models import BASE, BASE_26, LARGE, LARGE_26, MINILM, MINILM_SST2
from benchmarks.steps import StepCall
from bpjax import models
from bpjax.measure.flops import forward_flops, theoretical_speedup
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.bert import BertConfig
from bpjax.models.heads import HEADS
from bpjax.models.inputs import PACKED, TEACHER_LOGITS
from bpjax.models.layers import attention
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime
from bpjax.training.evaluation import forward
from bpjax.training.packing import make_bins, plan_strata
from bpjax.training.terms import Teacher

BACKWARD = 2  # times the forward pass's operations
HALF = "bfloat16"

Row = dict[str, Any]


class Sizes(NamedTuple):
    """What is timed.

    Attributes:
      gemm: side of the matrices whose product is the machine's rate.
      training: by model: config and shape of a batch.
      inference: by model: config by variant, the first of which is dense, and shapes.
      rows: of a batch that is packed, and the longest of them.
    """

    gemm: int
    training: dict[str, tuple[BertConfig, tuple[int, int]]]
    inference: dict[str, tuple[dict[str, BertConfig], tuple[tuple[int, int], ...]]]
    rows: tuple[int, int]


WHOLE = Sizes(
    8192,
    {
        "BERT-base": (BASE, (64, 384)),
        "MiniLM": (MINILM, (128, 384)),
        "BERT-large": (LARGE, (32, 384)),
    },
    {
        "BERT-base": ({"dense": BASE, "26%": BASE_26}, ((128, 384), (1, 128))),
        "MiniLM": ({"dense": MINILM, "pruned": MINILM_SST2}, ((128, 128),)),
        "BERT-large": ({"dense": LARGE, "26%": LARGE_26}, ((128, 384),)),
    },
    (32, 64),
)
SMALL = Sizes(
    256,
    {"MiniLM": (MINILM, (2, 8))},
    {"MiniLM": ({"dense": MINILM, "pruned": MINILM_SST2}, ((2, 8),))},
    (4, 16),
)


def main() -> None:
    """Measures section by section, saves each, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/bench/gpu.json"))
    parser.add_argument("--sections", default=",".join(SECTIONS), help="some of the default's")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6.0, help="for one comparison")
    parser.add_argument("--small", action="store_true", help="tiny shapes, of MiniLM alone")
    options = parser.parse_args()
    configure_runtime()
    started = time.perf_counter()
    report: Row = {"environment": describe_environment(), "skipped": []}
    limits = {"rounds": options.rounds, "seconds": options.seconds}
    for name in options.sections.split(","):
        if time.perf_counter() - started > 60 * options.minutes:
            report["skipped"].append(name)
            continue
        begun = time.perf_counter()
        found = SECTIONS[name](SMALL if options.small else WHOLE, limits)
        report[name] = {"seconds": time.perf_counter() - begun, "rows": found}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(report, indent=2) + "\n")
        cells = [
            [f"{x:.3g}" if isinstance(x, float) else str(x) for x in r.values()] for r in found
        ]
        print(f"{name}, {report[name]['seconds']:.0f} s")
        print(align([list(found[0]), *cells], left=(0, 1)) if found else "nothing", flush=True)


def _machine(sizes: Sizes, limits: Row) -> list[Row]:
    """XLA's rate for a plain matrix product, which MFU is a share of."""
    del limits
    return [{"gemm_gflops_bfloat16": _rate(sizes.gemm)}]


@functools.cache
def _rate(size: int) -> float:
    return gemm_gflops(HALF, size=size)


def _attention(sizes: Sizes, limits: Row) -> list[Row]:
    """Flash attention against the plain form in float32: largest difference over largest value."""
    del sizes, limits
    keys = jax.random.split(jax.random.key(0), 4)
    query, key, value, pull = (jax.random.normal(k, (4, 384, 12, 64), jnp.bfloat16) for k in keys)
    mask = (jnp.arange(384) < jnp.array([[384], [200], [7], [1]])).astype(jnp.int32)
    if jax.default_backend() != "gpu" or attention._obstacle(query, mask, 0.0):
        return []

    def results(form: Callable[..., jax.Array], dtype: str) -> list[np.ndarray]:
        inputs = [x.astype(dtype) for x in (query, key, value)]
        mixed, back = jax.vjp(functools.partial(form, mask=mask), *inputs)
        return [np.asarray(x, np.float32) for x in (mixed, *back(pull.astype(dtype)))]

    batched = functools.partial(attention._attend_batched, dropout=0.0, rng=None)
    with jax.default_matmul_precision("highest"):
        right = results(batched, "float32")
    return [
        {"form": name, "array": array, "relative": float(np.abs(x - y).max() / np.abs(y).max())}
        for name, form in (("flash", attention._attend_flash), ("plain", batched))
        for array, x, y in zip(
            ("out", "query", "key", "value"), results(form, HALF), right, strict=True
        )
    ]


def _training(sizes: Sizes, limits: Row) -> list[Row]:
    """Steps of each model: plain, masked, with a teacher, and where the time goes."""
    rows = []
    for name, (config, shape) in sizes.training.items():
        params = models.init(config, jax.random.key(0))
        batch = _labelled(random_batch(models.inputs(config), *shape))
        logits = {**batch, TEACHER_LOGITS: jnp.zeros((shape[0], config.num_labels))}
        still, teacher = config.replace(attention_dropout=0.0), Teacher(config, params)
        calls: dict[str, Callable[[], Any]] = {
            "plain": StepCall(config, params, batch, masked=False, dtype=HALF),
            "no attention dropout": StepCall(still, params, batch, masked=False, dtype=HALF),
            "masked": StepCall(config, params, batch, masked=True, dtype=HALF),
            "teacher": StepCall(config, params, batch, masked=True, teacher=teacher, dtype=HALF),
            "logits": StepCall(config, params, logits, masked=True, teacher=teacher, dtype=HALF),
            **_parts(config.replace(dtype=HALF), params, batch),
            **_torch_steps(config, params, batch),
        }
        taken = measure_latency(calls, **limits)
        done = (1 + BACKWARD) * forward_flops(models.describe(config), *shape)
        for kind, milliseconds in taken.items():
            call = calls[kind]
            rows.append(
                {
                    "model": name,
                    "step": kind,
                    "shape": "x".join(map(str, shape)),
                    "ms": milliseconds,
                    "over_plain": milliseconds / taken["plain"],
                    "mfu": done / milliseconds / 1e6 / _rate(sizes.gemm),
                    "ratio_torch": taken.get("torch", float("nan")) / milliseconds,
                    "megabytes": call.peak_bytes() / 2**20 if isinstance(call, StepCall) else 0.0,
                }
            )
    return rows


def _parts(config: BertConfig, params: dict, batch: Row) -> dict[str, Callable[[], Any]]:
    """A step's forward pass, and that with the gradient."""
    key = jax.random.key(0)

    def loss(params: dict) -> jax.Array:
        return HEADS[config.head].loss(forward(config, params, batch, dropout=key), batch)

    found = {"forward": loss, "gradient": jax.grad(loss)}
    compiled = {name: jax.jit(form).lower(params).compile() for name, form in found.items()}
    return {name: functools.partial(form, params) for name, form in compiled.items()}


def _fusions(sizes: Sizes, limits: Row) -> list[Row]:
    """The instructions of the first model's plain step that move most bytes."""
    del limits
    config, shape = next(iter(sizes.training.values()))
    params = models.init(config, jax.random.key(0))
    batch = _labelled(random_batch(models.inputs(config), *shape))
    call = StepCall(config, params, batch, masked=False, dtype=HALF)
    return [
        {"megabytes": each.bytes / 2**20, **each._asdict()}
        for each in largest(call.compiled.as_text())
    ]


def _inference(sizes: Sizes, limits: Row) -> list[Row]:
    """Every variant of a model, in turns, ours and PyTorch's."""
    rows = []
    for name, (variants, shapes) in sizes.inference.items():
        for shape in shapes:
            calls: dict[tuple[str, str], Callable[[], Any]] = {}
            for variant, config in variants.items():
                params = models.init(config, jax.random.key(0))
                tokens = random_batch(models.inputs(config), *shape)
                half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
                ours = jax.jit(functools.partial(forward, config.replace(dtype=HALF)))
                calls[variant, "ms"] = functools.partial(
                    ours.lower(half, tokens).compile(), half, tokens
                )
                if (theirs := _torch_forward(config, params, tokens)) is not None:
                    calls[variant, "torch"] = theirs
            taken = measure_latency(calls, **limits)
            dense = next(iter(variants))
            rows += [
                {
                    "model": name,
                    "variant": variant,
                    "shape": "x".join(map(str, shape)),
                    "ms": taken[variant, "ms"],
                    "ratio_torch": taken.get((variant, "torch"), float("nan"))
                    / taken[variant, "ms"],
                    "speedup": taken[dense, "ms"] / taken[variant, "ms"],
                    "theoretical_speedup": theoretical_speedup(
                        models.describe(variants[dense]), models.describe(config), *shape
                    ),
                    "mfu": forward_flops(models.describe(config), *shape)
                    / (taken[variant, "ms"] * 1e6 * _rate(sizes.gemm)),
                }
                for variant, config in variants.items()
            ]
    return rows


def _packing(sizes: Sizes, limits: Row) -> list[Row]:
    """A masked step with a teacher on rows padded to the longest, and on the same rows packed."""
    count, longest = sizes.rows
    # Lengths as SST-2 has them: half of the rows have 11 tokens or fewer, few have many.
    drawn = np.random.default_rng(0).lognormal(np.log(longest / 6), 0.6, 100 * count)
    lengths = np.clip(drawn, 3, longest).astype(np.int32)
    bins = make_bins(lengths, count, 3 * longest // 2)
    rows = plan_strata(lengths, count, seed=0, epoch=0)[0]
    tokens = random_batch(models.inputs(MINILM), count, bins.length)
    mask = (jnp.arange(bins.length) < lengths[rows][:, None]).astype(jnp.int32)
    padded = _labelled({**tokens, "attention_mask": mask})
    packed = {**padded, PACKED: jnp.asarray(bins.fill(lengths[rows]))}
    params = models.init(MINILM, jax.random.key(0))
    teacher = Teacher(MINILM, params)
    calls = {
        name: StepCall(MINILM, params, batch, masked=True, teacher=teacher, dtype=HALF)
        for name, batch in (("padded", padded), ("packed", packed))
    }
    taken = measure_latency(calls, **limits)
    return [
        {"batch": name, "ms": ms, "over_padded": ms / taken["padded"]} for name, ms in taken.items()
    ]


def _labelled(tokens: Row) -> Row:
    rows = len(next(iter(tokens.values())))
    return {**tokens, "label": jnp.zeros(rows, jnp.int32), "weight": jnp.ones(rows)}


def _torch_steps(config: BertConfig, params: dict, batch: Row) -> dict[str, Callable[[], Any]]:
    """PyTorch's plain step, compiled; nothing where it is not installed."""
    if (peer := _peer()) is None:
        return {}
    device, peers, _ = peer
    peers.forget_compiled()
    model = peers.make_torch(config, params).to(device)
    tokens = {each.name: batch[each.name] for each in models.inputs(config)}
    inputs = {name: x.to(device) for name, x in peers.tensors(tokens).items()}
    step = peers.torch_step(peers.compile_torch(model), inputs, autocast=device.type)
    return {"torch": _waiting(step)}


def _torch_forward(config: BertConfig, params: dict, tokens: Row) -> Callable[[], Any] | None:
    if (peer := _peer()) is None:
        return None
    device, peers, torch = peer
    model = peers.make_torch(config, params).to(device, torch.bfloat16)
    inputs = {name: x.to(device) for name, x in peers.tensors(tokens).items()}
    return _waiting(peers.torch_call(peers.compile_torch(model), inputs))


def _peer() -> Any:
    """The device, our peers and PyTorch; None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    from benchmarks import peers

    return torch.device("cuda" if torch.cuda.is_available() else "cpu"), peers, torch


def _waiting(call: Callable[[], Any]) -> Callable[[], Any]:
    # PyTorch returns before its GPU is done, and nobody else waits for it.
    def waited() -> None:
        call()
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return waited


SECTIONS: dict[str, Callable[[Sizes, Row], list[Row]]] = {
    "machine": _machine,
    "training": _training,
    "inference": _inference,
    "fusions": _fusions,
    "packing": _packing,
    "attention": _attention,
}

if __name__ == "__main__":
    main()
