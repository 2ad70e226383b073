"""From a model and a table to smaller models: a plan, its config file, its runs, their exports."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.api.model import export
from bpjax.compression.plan import make_plan
from bpjax.compression.request import Numbers, Request, make_request
from bpjax.compression.written import FILE, config_text
from bpjax.config import default_fields
from bpjax.errors import UserError
from bpjax.files import write_whole
from bpjax.models.sources import CONFIG, find_model, weight_files
from bpjax.report.compare import choose_shape, gather, only_task
from bpjax.report.page import FILE as PAGE
from bpjax.report.page import write_comparison_page
from bpjax.report.write import read_report
from bpjax.stages.origins import digest_files
from bpjax.sweep import run_one

ASKED = "compress.json"
"""What was asked for and what was planned; its folder is a compression that was begun."""


class Compressed(NamedTuple):
    """A model that came out.

    Attributes:
      name: such as speedup3.
      folder: Hugging Face folder of the model; `bpjax.load` takes it too.
      report: as in report.json.
    """

    name: str
    folder: Path
    report: dict[str, Any]


def compress(
    model: str | Path,
    data: str | Path,
    *,
    output: str | Path,
    eval: str | Path | None = None,
    speedup: Numbers = None,
    density: Numbers = None,
    megabytes: Numbers = None,
    minutes: float | int = 60,
    task: str = "auto",
    seed: int = 17,
    new_head: bool = False,
    dry_run: bool = False,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> list[Compressed]:
    r"""Makes a model smaller or faster for the task of a table.

    The model is fine-tuned first where it has no head for the table's labels; else it is teacher
    and start. What it is pruned by, how long and with which rates follows from the table, the
    minutes and this machine, and stands in `output`/config.py. The same call goes on where it was
    interrupted.

    Args:
      model: a folder, an installed package or a hub name.
      data: a table: a .csv, .tsv, .jsonl, .conll or .parquet file, or the folder of a saved Hugging
        Face dataset.
      output: folder to make.
      eval: a table to evaluate on; by default a part of the rows of `data`.
      speedup: times faster at batches of 8 rows of 128 tokens on this machine, one number or
        several. With several each model is pruned from the one before it.
      density: instead, the fraction of the linear parameters that is left.
      megabytes: instead, the size of all parameters, saved in float32.
      minutes: that all of it may take.
      task: "text", "tokens" or "embedding"; "auto" finds it by the columns and the model.
      seed: of all random numbers.
      new_head: give the model a new head though it has one.
      dry_run: tell what would be done and how long it would take; write nothing.
      tell: is called with lines about what is going to happen; by default they are printed.
      **options: of the task, such as `text="review"`, `label="stars"`, `max_length=64`.

    Returns:
      The models, the largest first; none of a dry run.

    Raises:
      UserError: a table, a model, a target or an output folder that cannot be used.

    Example:
      What it would take, of a model with a new head; without `dry_run` it does it:

      >>> from pathlib import Path
      >>> import bpjax
      >>> rows = [f"the {n} of the village,{'odd' if n % 2 else 'even'}" for n in range(40)]
      >>> _ = Path("numbers.csv").write_text("\n".join(["text,label", *rows]))
      >>> model = "runs/quickstart/teacher/model"
      >>> options = {"new_head": True, "dry_run": True, "minutes": 1000}
      >>> bpjax.compress(model, "numbers.csv", density=0.5, output="smaller", **options)
      ... # doctest: +ELLIPSIS
      model    ...runs/quickstart/teacher/model: fine-tuned here first, its head is new
      task     text, 2 classes: text from 'text', label from 'label'
      rows     36 to train on, 4 to evaluate on (...)
      targets  density0.5
      method   Fisher importances, gradually, 20 epochs; fill 20 epochs
      minutes  about ...
      []
    """
    request = make_request(
        str(model),
        str(data),
        eval=str(eval) if eval else None,
        speedup=speedup,
        density=density,
        megabytes=megabytes,
        minutes=minutes,
        task=task,
        seed=seed,
        new_head=new_head,
        options=options,
    )
    folder = Path(output).expanduser().absolute()
    for line in _begin(request, folder, dry_run):
        (tell or functools.partial(print, flush=True))(line)
    if dry_run:
        return []
    made, runs = [], []
    for index, name in enumerate(request.names):
        runs.append(run_one(str(folder / FILE), folder / "runs", [], index))
        made.append(Compressed(name, _export(runs[-1], folder / name), read_report(runs[-1])))
    _write_page(folder, runs)
    return made


def _begin(request: Request, folder: Path, dry_run: bool) -> list[str]:
    """Plans a compression and writes the plan, or reads that of one that was begun.

    Returns:
      What was planned, for people.

    Raises:
      UserError: the folder holds something else, or a compression of another request.
    """
    asked = json.loads(json.dumps(dataclasses.asdict(request)))
    digests = _digests(request)
    if (folder / ASKED).is_file():
        begun = json.loads((folder / ASKED).read_text(encoding="utf-8"))
        different = [key for key, value in asked.items() if begun["request"].get(key) != value]
        if different:
            raise UserError(
                f"{folder}: was begun with {different[0]} {begun['request'].get(different[0])!r}, "
                f"not {asked[different[0]]!r}: expected the same request; choose another --output"
            )
        for name, digest in digests.items():
            if begun["digests"].get(name) != digest:
                source = getattr(request, name)
                raise UserError(
                    f"{folder}: was begun with another {name} than {source} is now: expected the "
                    "same content; restore it, or choose another --output"
                )
        return [*begun["told"], "goes on where it was"]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: holds something already: expected a new --output; choose one")
    plan = make_plan(request)
    if dry_run:
        return [*plan.told]
    (folder / "costs").mkdir(parents=True, exist_ok=True)
    for name, notes in plan.costs.items():
        write_whole(folder / "costs" / f"{name}.json", json.dumps(notes, indent=2) + "\n")
    write_whole(folder / FILE, config_text(folder, request, plan))
    begun = {"request": asked, "digests": digests, "told": plan.told}
    write_whole(folder / ASKED, json.dumps(begun, indent=2, ensure_ascii=False) + "\n")
    return [*plan.told]


def _digests(request: Request) -> dict[str, str]:
    """Of the content of model and tables, by what they are to the request.

    Raises:
      UserError: no such model.
    """
    model = find_model(request.model)
    found = {"model": digest_files([model / CONFIG, *weight_files(model)])}
    for name in ("data", "eval"):
        if path := getattr(request, name):
            inside = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
            found[name] = digest_files(inside)
    return found


def _export(run: Path, folder: Path) -> Path:
    """The model of a finished run as a Hugging Face folder, made once."""
    if not folder.exists():
        export(run / "fill" / "model", "hf", folder)
    return folder


def _write_page(folder: Path, runs: list[Path]) -> None:
    """A run's own page, or one that compares several."""
    if len(runs) == 1:
        shutil.copyfile(runs[0] / PAGE, folder / PAGE)
        return
    groups = only_task(gather(runs, default_fields))
    write_comparison_page(groups, choose_shape(groups), folder / PAGE)
