"""How fast a dense and a pruned encoder-decoder write: bpjax, PyTorch and ONNX Runtime, in turns.

Each writes texts of one token and of `--tokens`. What the others take is the decoder's time for one
more; the first token less that is the time for reading: of the encoder, of the keys and values that
the decoder makes of its output, and of what a call costs anyhow. Beside the measured speedups stand
those that the sizes promise. Of reading they go by its arithmetic; of a further token by the
weights that it reads from memory: those of the decoder's layers but for these keys and values, and
the table of all words, which gives the logits and is not pruned, so that it bounds the speedup.

Command:  python -m benchmarks.decoding DENSE_DIR PRUNED_DIR
Hardware: 2 CPU cores without other work; about 10 minutes for a BART base. Needs bpjax[onnx]; set
OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0, see `benchmarks.cpu`.
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import torch
import transformers

from benchmarks.onnx_texts import OnnxWriter
from benchmarks.peers import tensors
from bpjax import models
from bpjax.errors import UserError
from bpjax.exports.formats import FORMATS
from bpjax.generation import generate
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.generation import Generation
from bpjax.models.heads import HEADS
from bpjax.models.inputs import ATTENTION_MASK, DECODER_MASK, common, source_inputs
from bpjax.pruning.structure import Structure, shape
from bpjax.report.environment import count_cores, describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime

Write = Callable[[dict[str, Any], Generation], np.ndarray]
MODELS = ("dense", "pruned")


def main() -> None:
    """Measures, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dense", type=Path)
    parser.add_argument("pruned", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results/bench/decoding.json"))
    parser.add_argument("--batch", type=int, default=1, help="sources at once")
    parser.add_argument("--length", type=int, default=128, help="tokens of a source")
    parser.add_argument("--tokens", type=int, default=32, help="of a text, 2 at least")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120.0, help="for one number of beams")
    options = parser.parse_args()
    configure_runtime()
    torch.set_num_threads(count_cores())

    loaded = [load_pretrained(each) for each in (options.dense, options.pruned)]
    for config, _ in loaded:
        if not HEADS[config.head].generates:
            raise UserError(f"a model with the head {config.head!r}: expected one that writes")
    inputs = common([source_inputs(models.inputs(config)) for config, _ in loaded])
    batch = random_batch(inputs, options.batch, options.length)
    writers = {name: _engines(*model) for name, model in zip(MODELS, loaded, strict=True)}
    configs = {name: config for name, (config, _) in zip(MODELS, loaded, strict=True)}
    rows: list[dict[str, Any]] = []
    for beams in options.beams:
        found = _time(writers, configs, batch, beams, options)
        print(format_table(found), flush=True)
        rows += found
    environment = describe_environment()
    environment["versions"] |= {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    report = {
        "batch": options.batch,
        "length": options.length,
        "tokens": options.tokens,
        "sizes": {name: _sizes(config) for name, config in configs.items()},
        "theory": theory(*configs.values(), options.batch, options.length),
        "decoding": rows,
        "environment": environment,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")
    print("theory: " + ", ".join(f"{k} {x:.2f}" for k, x in report["theory"].items()))


def _sizes(config: Config) -> dict[str, int]:
    return {each.name: each.units for each in models.describe(config).sublayers}


def _engines(config: Config, params: dict[str, Any]) -> dict[str, Write]:
    """One model in each engine; what it was saved with is left aside."""
    params, found = jax.device_put(params), {}

    def bpjax(batch: dict[str, Any], settings: Generation) -> np.ndarray:
        return np.asarray(generate(config, {"params": params}, batch, settings).tokens)

    with tempfile.TemporaryDirectory() as folder:
        for form in ("hf", "onnx"):  # without the comparison, which the texts are
            finish = functools.partial(FORMATS[form].convert, config, params)
            save_pretrained(Path(folder, form), config, params, finish=finish)
        auto = transformers.AutoModelForSeq2SeqLM
        model = auto.from_pretrained(Path(folder, "hf"), trust_remote_code=True).eval()
        found["onnx"] = OnnxWriter(Path(folder, "onnx"))

    def in_torch(batch: dict[str, Any], settings: Generation) -> np.ndarray:
        model.generation_config = transformers.GenerationConfig(
            num_beams=settings.num_beams,
            min_length=settings.min_length,
            max_length=settings.max_length,
            decoder_start_token_id=settings.decoder_start_token_id,
            eos_token_id=list(settings.eos_token_id),
            pad_token_id=settings.fill,
        )
        with torch.inference_mode():
            return model.generate(**tensors(batch)).numpy()

    return {"bpjax": bpjax, "torch": in_torch, **found}


def _settings(config: Config, beams: int, tokens: int) -> Generation:
    """Of texts of so many tokens behind the one that they start with."""
    saved = models.architecture(config).decoder.settings(config)
    return Generation(
        decoder_start_token_id=saved.decoder_start_token_id,
        eos_token_id=saved.eos_token_id,
        pad_token_id=saved.pad_token_id,
        num_beams=beams,
        min_length=1 + tokens,
        max_length=1 + tokens,
    )


def _time(
    writers: dict[str, dict[str, Write]],
    configs: dict[str, Config],
    batch: dict[str, Any],
    beams: int,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    lengths = (1, options.tokens)
    settings = {
        (model, n): _settings(config, beams, n)
        for model, config in configs.items()
        for n in lengths
    }
    calls = {
        (model, engine, n): functools.partial(write, batch, settings[model, n])
        for model, engines in writers.items()
        for engine, write in engines.items()
        for n in lengths
    }
    texts = {key: call() for key, call in calls.items() if key[2] == lengths[1]}
    medians = measure_latency(calls, rounds=options.rounds, warmup=2, seconds=options.seconds)
    rows = []
    for model, engines in writers.items():
        for engine in engines:
            first, all_ = (medians[model, engine, n] for n in lengths)
            token = (all_ - first) / (options.tokens - 1)
            same = texts[model, engine, lengths[1]] == texts[model, "bpjax", lengths[1]]
            rows.append(
                {
                    "engine": engine,
                    "model": model,
                    "beams": beams,
                    "first_token_ms": first,
                    "reading_ms": first - token,
                    "token_ms": token,
                    "tokens_per_second": 1000 * options.batch / token,
                    "same_texts": float(np.mean(np.all(same, axis=-1))),
                }
            )
    by = {(row["model"], row["engine"]): row for row in rows}
    for row in rows:
        dense = by["dense", row["engine"]]
        for name in ("reading", "token"):
            row[f"{name}_speedup"] = dense[f"{name}_ms"] / row[f"{name}_ms"]
    return rows


def theory(dense: Config, pruned: Config, batch: int, length: int) -> dict[str, float]:
    """Speedups that the sizes promise; `token_bound` is that of a decoder without any layers."""
    reading, token, table = zip(
        *(
            (
                reading_flops(models.describe(config), batch, length),
                token_weights(models.describe(config)),
                config.vocab_size * models.describe(config).streams["hidden"].size,
            )
            for config in (dense, pruned)
        ),
        strict=True,
    )
    return {
        "reading": reading[0] / max(reading[1], 1),
        "token": (token[0] + table[0]) / (token[1] + table[1]),
        "token_bound": (token[0] + table[0]) / table[1],
    }


def reading_flops(structure: Structure, batch: int, length: int) -> int:
    """Operations before the first token: products with the source's tokens, and their attention."""
    mixed = sum(
        each.units * each.mixes
        for each in structure.sublayers
        if each.write.tokens == ATTENTION_MASK
    )
    weights = _weights(structure, ATTENTION_MASK)
    return 2 * batch * length * weights + 2 * batch * length**2 * mixed


def token_weights(structure: Structure) -> int:
    """Weights of layers that a further token meets; the words' table comes on top."""
    return _weights(structure, DECODER_MASK)


def _weights(structure: Structure, tokens: str) -> int:
    return sum(
        int(np.prod(shape(structure, sublayer, kernel)))
        for sublayer, kernel in structure.kernels()
        if kernel.tokens == tokens
    )


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """By engine and beams, the dense model above the pruned one."""
    head = ("engine", "beams", "model", "reading ms", "/dense", "token ms", "tokens/s", "/dense")
    body = [
        (
            row["engine"],
            str(row["beams"]),
            row["model"],
            f"{row['reading_ms']:.1f}",
            f"{row['reading_speedup']:.2f}",
            f"{row['token_ms']:.2f}",
            f"{row['tokens_per_second']:.0f}",
            f"{row['token_speedup']:.2f}",
            f"{row['same_texts']:.0%}",
        )
        for row in sorted(rows, key=lambda row: (row["beams"], row["engine"], row["model"]))
    ]
    return align([(*head, "texts as bpjax's"), *body], left=(0, 2))


if __name__ == "__main__":
    main()
