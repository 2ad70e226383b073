"""The model card: README.md of a model's folder, as the Hugging Face hub shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpjax.report.environment import name_machine
from bpjax.report.table import format_sizes, report_rows

FILE = "README.md"


def write_card(
    report: Mapping[str, Any],
    kind: str,
    folder: Path,
    labels: Sequence[str] = (),
    part: str = "pruned",
) -> Path:
    """Writes what a run found into the folder of its model, from where exports take it along.

    Args:
      report: as in report.json, see `bpjax.report.write.KEYS`.
      kind: of the task, in the hub's words: "text-classification", say.
      folder: of the model.
      labels: their names by number; () where they have none.
      part: which model of the report it is, "pruned" or "quantized".

    Returns:
      The path of the card.
    """
    from huggingface_hub import EvalResult, ModelCardData  # slow to import

    task, base = _name_data(report), report["model"]
    metrics = report[part]["metrics"]
    few = [report["config"]["quantize"]["preset"]] if part == "quantized" else []
    title = " and ".join(["pruned", *few])
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=task,
            dataset_name=task,
            dataset_split="train" if report["config"]["task"].get("holdout") else "validation",
            metric_type=name,
            metric_value=value,
        )
        for name, value in metrics.items()
        if not name.endswith("_threshold")
    ]
    data = ModelCardData(
        model_name=f"{base} {title} for {task}",
        library_name="bpjax",
        tags=["bpjax", "pruned", *few, report["pattern"], report["method"]],
        eval_results=results,
    )
    where = report["environment"]
    shape, gain = list(report["quantized_speedup" if few else "speedup"].items())[-1]
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {base}, {title} for {task}",
        f"{report['density']:.1%} of the linear parameters of its layers are left, and it runs "
        f"{gain:.2f} times faster than the dense model at {shape} (batch × length) on "
        f"{name_machine(where)} ({where['backend']}). "
        "What was removed changed no output of "
        f"{report['equivalence']['examples']:,} examples by more than "
        f"{report['equivalence']['max_abs_diff']:.1e}.",
        *[
            f"Its weights and the inputs of its products are {preset}: bpjax loads it, and "
            "`bpjax export` writes it for other software."
            for preset in few
        ],
        _markdown(report_rows(report)),
        f"```\n{format_sizes(report)}\n```",
        *([f"Labels: {', '.join(f'{i} {name}' for i, name in enumerate(labels))}."] * bool(labels)),
        f"Recipe: pattern {report['pattern']}, method {report['method']}, seed {report['seed']}.",
        f"```\n{report['command']}\n```",
        f"Licence: that of {base}, from which it was made, and of the data of {task}.",
    ]
    path = folder / FILE
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _name_data(report: Mapping[str, Any]) -> str:
    """The task, or the table that it was about."""
    return Path(report["config"]["task"].get("data", "")).name or report["task"]


def _markdown(rows: list[tuple[str, ...]]) -> str:
    head, *rest = rows
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rest))
