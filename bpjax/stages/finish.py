"""The stages after training: shrink and measure."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bpjax.distributed import write_once
from bpjax.measure.flops import theoretical_speedup
from bpjax.measure.latency import compare_latency
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.models.heads import HEADS, Head
from bpjax.models.pretrained import load_pretrained, save_pretrained
from bpjax.pruning import surgery
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.summary import LayerSummary, summarize
from bpjax.stages.inputs import Run
from bpjax.training.approximations import finished
from bpjax.training.evaluation import forward
from bpjax.workdir import load_arrays


def shrink(run: Run, pruned: Path, folder: Path) -> dict[str, Any]:
    """Removes what died, and compares the small model with the masked one, example by example."""
    started = time.perf_counter()
    model, params, values = _load_masked(run, pruned)
    pattern, structure = run.pattern(model), bert.describe(model)
    masks = build_mask_collection(pattern, values)
    small = surgery.shrink(
        apply_masks(params, masks),
        structure,
        bert.activation(model),
        round_to=run.config.shrink.round_to,
        rank_by=params,
        hidden=kept_units(structure, pattern, values).hidden,
    )
    smaller = model.replace(
        heads=small.heads,
        intermediate=small.intermediate,
        hidden_size=len(small.kept_hidden),
        pooler_size=model.pooled,
        original=(model.heads, model.intermediate, model.hidden_size),
    )
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


def summarize_masks(run: Run, pruned: Path) -> tuple[BertConfig, list[LayerSummary]]:
    """The model before pruning, and what the masks of a finished prune stage leave of it."""
    model, params, values = _load_masked(run, pruned)
    masks = build_mask_collection(run.pattern(model), values)
    return model, summarize(apply_masks(params, masks), bert.describe(model))


def _load_masked(run: Run, pruned: Path) -> tuple[BertConfig, dict, dict]:
    """The masked model of a finished prune stage: sizes, unmasked parameters, mask values."""
    model, _ = run.pretrained()
    model = finished(model, run.replaced())
    params, values = (load_arrays(pruned / f"{x}.safetensors") for x in ("params", "masks"))
    return model, params, values


def measure(run: Run, teacher_dir: Path, model_dir: Path) -> dict[str, Any]:
    """Metric, size and latency of the dense and the pruned model, side by side."""
    config = run.config
    started = time.perf_counter()
    shapes = run.shapes()
    folders = {"dense": teacher_dir, "pruned": model_dir}
    models = {
        name: load_pretrained(path, head="saved", dtype=config.model.dtype)
        for name, path in folders.items()
    }
    latency = compare_latency(
        {
            name: (functools.partial(forward, model), params)
            for name, (model, params) in models.items()
        },
        shapes,
        vocab_size=min(model.vocab_size for model, _ in models.values()),
        rounds=config.measure.rounds,
    )
    measured: dict[str, Any] = {}
    for name, (model, params) in models.items():
        measured[name] = {
            "metrics": run.metrics(model, params),
            "hidden_size": model.hidden_size,
            "linear_params": model.linear_parameters(),
            "total_params": sum(x.size for x in jax.tree.leaves(params)),
            "bytes_on_disk": sum(x.stat().st_size for x in folders[name].glob("*.safetensors")),
            "latency_ms": latency[name],
        }
    dense_model, pruned_model = models["dense"][0], models["pruned"][0]
    return {
        "seconds": time.perf_counter() - started,
        **measured,
        "density": pruned_model.linear_parameters() / dense_model.linear_parameters(),
        "heads_kept": pruned_model.heads,
        "ffn_kept": pruned_model.intermediate,
        "speedup": {s: latency["dense"][s] / latency["pruned"][s] for s in latency["dense"]},
        "theoretical_speedup": {
            f"{b}x{n}": theoretical_speedup(dense_model, pruned_model, b, n) for b, n in shapes
        },
    }
