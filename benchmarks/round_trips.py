"""A saved classifier in PyTorch, ONNX Runtime and StableHLO: its answers on a whole dev set.

Command:  python -m benchmarks.round_trips MODEL_DIR --task=sst2 --data_dir=data
Hardware: any; two minutes on 2 CPU cores. Needs torch and bpjax[onnx].
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.peers import tensors
from bpjax import models
from bpjax.exports.formats import FORMATS, export
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.tasks import get_task
from bpjax.training.evaluation import predict
from bpjax.training.input import Batching, eval_batches

ROWS = 32  # of a batch


def main() -> None:
    """Compares, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--results", type=Path, default=Path("results/round_trips/report.json"))
    options = parser.parse_args()
    task = get_task(options.task, data_dir=options.data_dir)
    features = task.evaluation(load_tokenizer(options.model))
    config, params = load_pretrained(options.model, head="saved")
    ours = np.stack(predict(config, params, eval_batches(features, Batching(ROWS)), None))

    found: dict[str, dict[str, Any]] = {}
    for form, format_ in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / "model"
            checked = export(form, config, params, options.model, exported)
            call = format_.open(config, exported) if format_.open else open_torch(exported)
            theirs = np.empty_like(ours)
            for batch in eval_batches(features, Batching(ROWS)):
                real = batch["index"] >= 0
                theirs[batch["index"][real]] = call(
                    {x.name: batch[x.name] for x in models.inputs(config)}
                )[real]
        found[form] = {
            **checked,  # times at 8x128 of what can be run here
            "max_abs_diff": float(np.abs(theirs - ours).max()),
            "predictions_changed": int((theirs.argmax(-1) != ours.argmax(-1)).sum()),
            "metrics": task.evaluate(features, list(theirs)),
        }
    environment = describe_environment()
    environment["versions"] |= {name: version(name) for name in ("torch", "onnxruntime")}
    report = {
        "task": options.task,
        "examples": len(ours),
        "heads_kept": config.heads,
        "ffn_kept": config.intermediate,
        "metrics": task.evaluate(features, list(ours)),
        "formats": found,
        "environment": environment,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")
    rows = [("format", "largest difference", "predictions changed", "8x128 [ms]", "bpjax [ms]")]
    rows += [
        (
            form,
            f"{x['max_abs_diff']:.1e}",
            str(x["predictions_changed"]),
            *(f"{x[key]:.1f}" if key in x else "" for key in ("ms", "bpjax_ms")),
        )
        for form, x in found.items()
    ]
    print(align(rows, left=(0,)))


def open_torch(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """A Hugging Face folder in PyTorch, as a function of a batch."""
    auto = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()

    def call(batch: dict[str, Any]) -> np.ndarray:
        with torch.inference_mode():
            return model(**tensors(batch)).logits.numpy()

    return call


if __name__ == "__main__":
    main()
