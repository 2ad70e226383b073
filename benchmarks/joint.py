"""Query, key and value as one product, or as three: which is faster for how many rows.

Command:  python -m benchmarks.joint
Hardware: 2 CPU cores without other work; about 8 minutes.
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.models import BASE, BASE_26, MINILM, MINILM_SST2
from benchmarks.steps import StepCall
from bpjax import models
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.bert import BertConfig
from bpjax.models.layers import linear
from bpjax.report.environment import describe_environment
from bpjax.runtime import configure_runtime
from bpjax.training.evaluation import forward

MODELS = {
    "MiniLM": MINILM,
    "MiniLM, 21%": MINILM_SST2,
    "BERT-base": BASE,
    "BERT-base, 26%": BASE_26,
}
SHAPES = ((1, 32), (1, 128), (4, 128), (8, 128))
STEPS = (
    ("MiniLM", (32, 16)),
    ("MiniLM", (8, 128)),
    ("BERT-base", (8, 64)),
    ("BERT-base", (8, 128)),
)
WAYS = {"joint": lambda *_: True, "apart": lambda *_: False, "chosen": linear._joins}


def main() -> None:
    """Measures, writes the JSON and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/bench/joint.json"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15.0, help="for one shape of one model")
    options = parser.parse_args()
    configure_runtime()
    limits = {"rounds": options.rounds, "seconds": options.seconds}
    rows = [
        _compare("answer", name, shape, _answers(config, shape), limits)
        for name, config in MODELS.items()
        for shape in SHAPES
    ]
    rows += [
        _compare("training step", name, shape, _steps(MODELS[name], shape), limits)
        for name, shape in STEPS
    ]
    report = {"environment": describe_environment(), "joint": rows}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")


def _compare(
    what: str, name: str, shape: tuple[int, int], calls: dict[str, Any], limits: dict[str, Any]
) -> dict[str, Any]:
    taken = measure_latency(calls, **limits)
    row = {"what": what, "model": name, "shape": "x".join(map(str, shape))}
    row |= {f"{way}_ms": milliseconds for way, milliseconds in taken.items()}
    row |= {"joint_over_chosen": taken["joint"] / taken["chosen"]}
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def _answers(config: BertConfig, shape: tuple[int, int]) -> dict[str, Any]:
    params = jax.device_put(models.init(config, jax.random.key(0)))
    tokens = random_batch(models.inputs(config), *shape)

    def compiled() -> Any:
        # A function of its own, for what was traced is kept by the function.
        call = jax.jit(lambda params, tokens: forward(config, params, tokens))
        return functools.partial(call.lower(params, tokens).compile(), params, tokens)

    return _by_way(compiled)


def _steps(config: BertConfig, shape: tuple[int, int]) -> dict[str, Any]:
    params = models.init(config, jax.random.key(0))
    tokens = random_batch(models.inputs(config), *shape)
    labels = {"label": jnp.zeros(shape[0], jnp.int32), "weight": jnp.ones(shape[0])}
    return _by_way(
        lambda: StepCall(config, params, tokens | labels, masked=True, dtype="bfloat16_products")
    )


def _by_way(make: Any) -> dict[str, Any]:
    found, before = {}, linear._joins
    for way, joins in WAYS.items():
        linear._joins = joins
        found[way] = make()
    linear._joins = before
    return found


if __name__ == "__main__":
    main()
