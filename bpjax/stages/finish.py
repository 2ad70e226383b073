"""The stages after training: shrink and measure."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bpjax import models
from bpjax.distributed import write_once
from bpjax.measure.flops import theoretical_speedup
from bpjax.measure.latency import compare_latency
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.heads import HEADS, Head
from bpjax.pruning import surgery
from bpjax.pruning.costs import linear_parameters
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.summary import SublayerSummary, summarize
from bpjax.stages.inputs import Run
from bpjax.training.approximations import finished
from bpjax.training.evaluation import forward
from bpjax.workdir import load_arrays


def shrink(run: Run, pruned: Path, folder: Path) -> dict[str, Any]:
    """Removes what died, and compares the small model with the masked one, example by example."""
    started = time.perf_counter()
    model, params, values = _load_masked(run, pruned)
    pattern, structure = run.pattern(model), models.describe(model)
    masks = build_mask_collection(pattern, values)
    small = surgery.shrink(
        apply_masks(params, masks),
        structure,
        round_to=run.config.shrink.round_to,
        rank_by=params,
        streams=kept_units(structure, pattern, values).streams,
    )
    smaller = models.resize(model, small.sizes)
    write_once(
        save_pretrained, folder / "model", smaller, small.params, run.tokenizer, overwrite=True
    )

    before = run.predict(model, params, masks)
    after = run.predict(smaller, small.params)
    differences = [float(np.abs(x - y).max()) for x, y in zip(before, after, strict=True)]
    return {
        "seconds": time.perf_counter() - started,
        "metrics": run.task.evaluate(run.evaluation, after),
        "equivalence": {
            "max_abs_diff": max(differences),
            "examples": len(differences),
            "predictions_changed": predictions_changed(HEADS[smaller.head], before, after),
        },
    }


def predictions_changed(
    head: Head, before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> int | None:
    """In how many rows two models predict something else; None of a head without predictions.

    Args:
      head: of both.
      before: outputs of one, a row each.
      after: outputs of the other, of the same rows.
    """
    if not head.decide:
        return None
    pairs = zip(before, after, strict=True)
    return sum(bool((head.decide(x) != head.decide(y)).any()) for x, y in pairs)


def summarize_masks(run: Run, pruned: Path) -> tuple[Config, list[SublayerSummary]]:
    """The model before pruning, and what the masks of a finished prune stage leave of it."""
    model, params, values = _load_masked(run, pruned)
    masks = build_mask_collection(run.pattern(model), values)
    return model, summarize(apply_masks(params, masks), models.describe(model))


def _load_masked(run: Run, pruned: Path) -> tuple[Config, dict, dict]:
    """The masked model of a finished prune stage: sizes, unmasked parameters, mask values."""
    model, _ = run.pretrained()
    model = finished(model, run.approximations())
    params, values = (load_arrays(pruned / f"{x}.safetensors") for x in ("params", "masks"))
    return model, params, values


def measure(run: Run, teacher_dir: Path, model_dir: Path) -> dict[str, Any]:
    """Metric, size and latency of the dense and the pruned model, side by side."""
    config = run.config
    started = time.perf_counter()
    shapes = run.shapes()
    folders = {"dense": teacher_dir, "pruned": model_dir}
    models_ = {
        name: load_pretrained(path, head="saved", dtype=config.model.dtype)
        for name, path in folders.items()
    }
    latency = compare_latency(
        {
            name: (functools.partial(forward, model), params)
            for name, (model, params) in models_.items()
        },
        shapes,
        vocab_size=min(model.vocab_size for model, _ in models_.values()),
        rounds=config.measure.rounds,
    )
    structures = {name: models.describe(model) for name, (model, _) in models_.items()}
    linear = {name: sum(linear_parameters(x).values()) for name, x in structures.items()}
    measured: dict[str, Any] = {}
    for name, (model, params) in models_.items():
        measured[name] = {
            "metrics": run.metrics(model, params),
            "hidden_size": structures[name].streams["hidden"].size,
            "linear_params": linear[name],
            "total_params": sum(x.size for x in jax.tree.leaves(params)),
            "bytes_on_disk": sum(x.stat().st_size for x in folders[name].glob("*.safetensors")),
            "latency_ms": latency[name],
        }
    dense, pruned = structures["dense"], structures["pruned"]
    return {
        "seconds": time.perf_counter() - started,
        **measured,
        "density": linear["pruned"] / linear["dense"],
        "heads_kept": [x.units for x in pruned.sublayers if x.kind == "attention"],
        "ffn_kept": [x.units for x in pruned.sublayers if x.kind == "ffn"],
        "speedup": {s: latency["dense"][s] / latency["pruned"][s] for s in latency["dense"]},
        "theoretical_speedup": {
            f"{b}x{n}": theoretical_speedup(dense, pruned, b, n) for b, n in shapes
        },
    }
