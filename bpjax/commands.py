"""What each command of the program does: thin calls, which give what is printed at their end."""

import argparse
import json
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from bpjax.errors import UserError

# Imports stay inside the commands: --help and a mistyped command answer at once.


class Output(NamedTuple):
    """What a command found.

    Attributes:
      text: for people.
      data: the same as JSON values, for programs.
      lines: printed one after the other as they are made, instead of either.
    """

    text: str
    data: Any
    lines: Iterable[str] = ()


def run(options: argparse.Namespace, overrides: list[str]) -> Output:
    """Runs a config, or says what that would take."""
    from bpjax import pipeline
    from bpjax.config import read_config
    from bpjax.report.table import format_plan, format_report

    config = read_config(options.config, overrides)
    if options.dry_run:
        planned = pipeline.plan(config, options.workdir)
        return Output(format_plan(planned), planned)
    arguments = [f"--config={options.config}", f"--workdir={options.workdir}", *overrides]
    command = shlex.join(["bpjax", "run", *arguments])
    report = pipeline.run(config, options.workdir, command)
    ending = f"report, plots and models: {options.workdir}\nthe same again: {command}"
    return Output(f"{format_report(report)}\n\n{ending}", report)


def compress(options: argparse.Namespace, overrides: list[str]) -> Output:
    """Makes a model smaller or faster for the task of a table."""
    from bpjax.compression import compress
    from bpjax.compression.recognise import read_options
    from bpjax.compression.summary import format_made
    from bpjax.report.page import FILE

    made = compress(
        options.model,
        options.data,
        output=options.output,
        eval=options.eval,
        speedup=options.speedup,
        density=options.density,
        megabytes=options.megabytes,
        minutes=options.minutes,
        task=options.task,
        seed=options.seed,
        new_head=options.new_head,
        dry_run=options.dry_run,
        **read_options(options.task, overrides),
    )
    if not made:
        return Output("Nothing was written.", [])
    folders = "\n".join(str(each.folder) for each in made)
    ending = f"models:\n{folders}\nreport: {options.output / FILE}"
    return Output(f"{format_made(made)}\n\n{ending}", [each.report for each in made])


def sweep(options: argparse.Namespace, overrides: list[str]) -> Output:
    """Runs all runs of a sweep, or one."""
    from bpjax.config import default_fields
    from bpjax.report.compare import choose_shape, format_tasks, gather, only_task
    from bpjax.report.page import FILE, write_comparison_page
    from bpjax.report.table import format_report
    from bpjax.report.write import read_report
    from bpjax.sweep import run_all, run_one

    if options.index is not None:
        report = read_report(run_one(options.sweep, options.workdir, overrides, options.index))
        return Output(format_report(report), report)
    quiet = options.quiet or options.json
    folders = run_all(options.sweep, options.workdir, overrides, quiet=quiet)
    groups = gather(folders, default_fields)
    try:
        drawn = only_task(groups)
        page = write_comparison_page(drawn, choose_shape(drawn), options.workdir / FILE)
        ending = f"report: {page}"
    except UserError as error:  # the runs are done all the same
        ending = f"no page: {error}"
    reports = [read_report(folder) for folder in folders]
    return Output(f"{format_tasks(groups)}\n\n{ending}", reports)


def report(options: argparse.Namespace, _: list[str]) -> Output:
    """Compares finished runs."""
    from bpjax.config import default_fields
    from bpjax.report.compare import choose_shape, format_tasks, gather, only_task
    from bpjax.report.page import write_comparison_page
    from bpjax.report.pareto import plot_pareto

    groups = gather(options.folders, default_fields)
    for write, path in ((plot_pareto, options.plot), (write_comparison_page, options.html)):
        if path is None:
            continue
        drawn = only_task(groups)
        try:
            write(drawn, choose_shape(drawn, options.shape), path)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}): expected a file in a folder that "
                "exists; choose another"
            ) from error
    reports = [x for found in groups.values() for group in found for x in group.reports]
    return Output(format_tasks(groups), reports)


def evaluate(options: argparse.Namespace, overrides: list[str]) -> Output:
    """Gives the metrics of a saved model on a task."""
    import bpjax
    from bpjax.config import read_task_options
    from bpjax.report.classes import class_rows
    from bpjax.report.table import align

    chosen = read_task_options(options.task, overrides)
    found = bpjax.evaluate(options.model, options.task, batch_size=options.batch_size, **chosen)
    lines = [f"{name} {value:.2f}" for name, value in found.items() if name != "classes"]
    if classes := found.get("classes"):
        lines += ["", align(class_rows({"": classes}), left=(0,))]
    return Output("\n".join(lines), found)


def predict(options: argparse.Namespace, overrides: list[str]) -> Output:
    """Answers texts, one JSON object a line, in their order."""
    import sys

    import tqdm

    import bpjax
    from bpjax.prediction.settings import read_settings
    from bpjax.prediction.texts import read_texts

    settings = read_settings(overrides)
    model = bpjax.load(options.model)
    texts = read_texts(options.texts, model.config.head, options.columns)
    answers = model.answer(
        texts, batch_size=options.batch_size, max_length=options.max_length, generation=settings
    )

    def lines() -> Iterator[str]:
        hidden = options.quiet or options.json
        for answer in tqdm.tqdm(answers, total=len(texts), file=sys.stderr, disable=hidden):
            yield json.dumps(answer, ensure_ascii=False)

    return Output("", None, lines())


def inspect(options: argparse.Namespace, _: list[str]) -> Output:
    """Tells what a saved model has left, by layer."""
    from bpjax import models
    from bpjax.models.checkpoint import load_pretrained
    from bpjax.models.tokenizer import check_rows
    from bpjax.pruning.costs import linear_parameters
    from bpjax.pruning.summary import summarize
    from bpjax.report.parts import Part, format_parts

    config, params = load_pretrained(options.model)
    check_rows(options.model, config)
    structure, dense = models.describe(config), models.architecture(config).dense(config)
    left = linear_parameters(structure)
    before = linear_parameters(models.describe(dense)) if dense else {}
    parts = [
        Part(each.name, units.units, left[each.name], before.get(each.name), each.nonzero)
        for units, each in zip(structure.sublayers, summarize(params, structure), strict=True)
    ]
    table, found = format_parts(parts)
    count = sum(left.values())
    layers = len({each.layer for each in structure.sublayers})
    ending = f"{count:,} linear parameters stored in {layers} layers"
    return Output(f"{table}\n\n{ending}", found | {"linear_params": count})


def benchmark(options: argparse.Namespace, _: list[str]) -> Output:
    """Times a saved model, or two against each other."""
    import bpjax
    from bpjax.report.table import align

    shapes = options.shapes.split(",")
    found = bpjax.benchmark(options.model, options.against, shapes=shapes, rounds=options.rounds)
    folders = [options.model] + ([options.against] if options.against else [])
    rows: list[tuple[str, ...]] = [("latency [ms]", *folders, "speedup")]
    for shape, (ms, against_ms) in found.items():
        times = [f"{time:.2f}" for time in (ms, against_ms) if time is not None]
        gain = found[shape].speedup
        rows.append((shape, *times, f"{gain:.2f}x" if gain is not None else ""))
    latency = {
        folder: {shape: times[place] for shape, times in found.items()}
        for place, folder in enumerate(folders)
    }
    return Output(align(rows, left=(0,)), {"latency_ms": latency})


def quantize(options: argparse.Namespace, _: list[str]) -> Output:
    """Saves a model in few bits."""
    import bpjax

    folder = bpjax.save(options.output, bpjax.quantize(options.model, options.preset))
    return Output(f"saved in {folder}", {"folder": str(folder)})


def trim(options: argparse.Namespace, _: list[str]) -> Output:
    """Saves a model with the tokens that some texts need."""
    import bpjax
    from bpjax.prediction.texts import read_texts

    model = bpjax.load(options.model)
    texts = read_texts(options.texts, model.config.head, options.columns)
    tokens = bpjax.trim(model, texts, options.output).config.vocab_size
    found = {"folder": str(options.output), "tokens": tokens, "of": model.config.vocab_size}
    return Output(f"saved in {options.output}: {tokens:,} of {found['of']:,} tokens", found)


def export(options: argparse.Namespace, _: list[str]) -> Output:
    """Saves a model for other software."""
    import bpjax

    found = bpjax.export(options.model, options.to, options.output)
    lines = [f"saved in {options.output}", *(f"{k} {value:.3g}" for k, value in found.items())]
    return Output("\n".join(lines), {"folder": str(options.output), **found})


def config(options: argparse.Namespace, _: list[str]) -> Output:
    """Lists the fields of a config."""
    from bpjax.config.listing import format_fields, list_fields

    listed = list_fields(options.task)
    fields = {x.name: {"default": x.default, "takes": x.takes, "text": x.text} for x in listed}
    return Output(format_fields(listed), fields)


def data_prepare(options: argparse.Namespace, _: list[str]) -> Output:
    """Turns official files into a TFDS dataset."""
    from bpjax.tasks.prepare import prepare

    prepare(options.task, options.source, options.data_dir)
    text = f"{options.task}: ready in {options.data_dir}"
    return Output(text, {"task": options.task, "data_dir": str(options.data_dir)})
