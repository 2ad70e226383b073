"""The command line. Each command is a thin call; `--help` of each has an example."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bpjax.errors import UserError
from bpjax.runtime import configure_runtime


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the program: exit code 0, or 2 with one line for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in (_run, _sweep, _evaluate):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    configure_runtime()
    try:
        options.command(options, rest)
    except UserError as error:
        print(f"bpjax: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments on one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "bpjax",
        description="Block pruning of transformers in JAX.",
        epilog="example:\n  bpjax run --config=configs/quickstart.py --workdir=runs/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Any, name: str, help_text: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=run)
        return added

    run = command(
        _run,
        "run",
        "Run a config: teacher, fine-prune, shrink, fill, measure, report. Finished stages are "
        "skipped, an interrupted one goes on. Any field is set by --config.FIELD=VALUE.",
        "bpjax run --config=configs/quickstart.py --workdir=runs/a --config.budget.value=40.0",
    )
    run.add_argument("--config", required=True, help="a file with get_config()")
    run.add_argument("--workdir", required=True, type=Path, help="folder of the run")

    sweep = command(
        _sweep,
        "sweep",
        "Run all runs of a sweep, or one of them for a job array. Finished runs are skipped, and "
        "one that fails does not stop the others.",
        "bpjax sweep experiments/sst2.py --workdir=runs/sst2 --index=0",
    )
    sweep.add_argument("sweep", help="a file with get_sweep(workdir)")
    sweep.add_argument("--workdir", required=True, type=Path, help="folder of the runs' folders")
    sweep.add_argument("--index", type=int, help="run this one alone, counted from 0")

    report = command(
        _report,
        "report",
        "Compare finished runs: one table, mean ± standard deviation over seeds, and one plot.",
        "bpjax report runs/sst2 --plot=pareto.png",
    )
    report.add_argument("folders", nargs="+", type=Path, help="runs, or folders above runs")
    report.add_argument("--plot", type=Path, help="draw metric against density and speed here")
    report.add_argument("--html", type=Path, help="write a page with table and plot here")
    report.add_argument("--shape", help="whose speedup is drawn (default: the reports' last)")

    evaluate = command(
        _evaluate,
        "evaluate",
        "Print the metrics of a saved model on a task. Any option of the task is set by "
        "--task.OPTION=VALUE.",
        "bpjax evaluate runs/a/fill/model --task=sst2 --task.data_dir=data",
    )
    evaluate.add_argument("model", help="model folder")
    evaluate.add_argument("--task", default="embedded", help="task (default: embedded)")
    evaluate.add_argument("--batch_size", type=_count, default=32)

    inspect = command(
        _inspect,
        "inspect",
        "Print what a saved model has left, by layer: heads, FFN dimensions, density.",
        "bpjax inspect runs/a/fill/model",
    )
    inspect.add_argument("model", help="model folder")

    benchmark = command(
        _benchmark,
        "benchmark",
        "Time a saved model, or two against each other in turns.",
        "bpjax benchmark runs/a/fill/model --against=runs/a/teacher/model --shapes=1x128,8x384",
    )
    benchmark.add_argument("model", help="model folder")
    benchmark.add_argument("--against", help="another model folder")
    benchmark.add_argument("--shapes", default="1x128,8x128", help="BATCHxLENGTH, comma separated")
    benchmark.add_argument("--rounds", type=_count, default=20)

    export = command(
        _export,
        "export",
        "Save a model for other software. hf: a Hugging Face folder of the sizes left, with the "
        "code that loads it in PyTorch (trust_remote_code). hf-padded: one of the dense sizes that "
        "needs no code. onnx and stablehlo: one file for any batch and length, compared with the "
        "model and timed beside it.",
        "bpjax export runs/a/fill/model --to=onnx --output=exported",
    )
    export.add_argument("model", help="model folder")
    export.add_argument("--to", required=True, help="hf, hf-padded, onnx or stablehlo")
    export.add_argument("--output", required=True, type=Path, help="new folder")

    data = command(
        _data_prepare,
        "data",
        "Turn official files in a local folder into a TFDS dataset, without TensorFlow.",
        "bpjax data prepare sst2 --source=glue/SST-2 --data_dir=data",
    )
    data.add_argument("action", choices=["prepare"])
    data.add_argument("task", help="squad, sst2 or another GLUE task")
    data.add_argument("--source", required=True, type=Path, help="folder of the official files")
    data.add_argument("--data_dir", required=True, type=Path, help="TFDS folder to write to")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


# Imports stay inside the commands: --help and a mistyped command answer at once.


def _run(options: argparse.Namespace, overrides: list[str]) -> None:
    from bpjax.config import read_config
    from bpjax.pipeline import run
    from bpjax.report.table import format_report

    config = read_config(options.config, overrides)
    command = shlex.join(
        [
            "bpjax",
            "run",
            f"--config={options.config}",
            f"--workdir={options.workdir}",
            *overrides,
        ]
    )
    report = run(config, options.workdir, command)
    print(format_report(report))
    print(f"\nreport, plots and models: {options.workdir}")


def _sweep(options: argparse.Namespace, overrides: list[str]) -> None:
    from bpjax.report.compare import choose_shape, format_groups, gather
    from bpjax.report.page import FILE, write_comparison_page
    from bpjax.report.table import format_report
    from bpjax.report.write import read_report
    from bpjax.sweep import run_all, run_one

    if options.index is not None:
        folder = run_one(options.sweep, options.workdir, overrides, options.index)
        print(format_report(read_report(folder)))
        return
    groups = gather(run_all(options.sweep, options.workdir, overrides))
    print(format_groups(groups))
    try:
        page = write_comparison_page(groups, choose_shape(groups), options.workdir / FILE)
        print(f"\nreport: {page}")
    except UserError as error:  # the runs are done all the same
        print(f"\nno page: {error}")


def _report(options: argparse.Namespace, _: list[str]) -> None:
    from bpjax.report.compare import choose_shape, format_groups, gather
    from bpjax.report.page import write_comparison_page
    from bpjax.report.pareto import plot_pareto

    groups = gather(options.folders)
    for write, path in ((plot_pareto, options.plot), (write_comparison_page, options.html)):
        if path is None:
            continue
        try:
            write(groups, choose_shape(groups, options.shape), path)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}): expected a file in a folder that "
                "exists; choose another"
            ) from error
    print(format_groups(groups))


def _evaluate(options: argparse.Namespace, overrides: list[str]) -> None:
    from bpjax.config import read_task_options
    from bpjax.models.pretrained import load_tokenizer
    from bpjax.stages.inputs import load_for
    from bpjax.tasks import get_task
    from bpjax.training.evaluation import predict
    from bpjax.training.input import eval_batches

    task = get_task(options.task, **read_task_options(options.task, overrides))
    tokenizer = load_tokenizer(options.model)
    config, params = load_for(task, options.model, tokenizer)
    features = task.evaluation(tokenizer)
    logits = predict(config, params, eval_batches(features, options.batch_size, ()), None)
    for name, value in task.evaluate(features, logits).items():
        print(f"{name} {value:.2f}")


def _inspect(options: argparse.Namespace, _: list[str]) -> None:
    from bpjax.models import bert
    from bpjax.models.pretrained import load_pretrained
    from bpjax.pruning.summary import summarize
    from bpjax.report.table import format_layers

    config, params = load_pretrained(options.model, head="saved")
    layers = summarize(params, bert.describe(config))
    print(
        format_layers(
            config.heads,
            config.intermediate,
            config.densities(),
            nonzero=[layer.density for layer in layers],
        )
    )
    print(
        f"\n{config.linear_parameters():,} linear parameters stored in {config.num_layers} layers"
    )


def _benchmark(options: argparse.Namespace, _: list[str]) -> None:
    import functools

    from bpjax.deploy.latency import compare_latency, parse_shapes
    from bpjax.models.pretrained import load_pretrained
    from bpjax.report.table import align
    from bpjax.training.evaluation import apply

    shapes = parse_shapes(options.shapes.split(","))
    folders = [options.model] + ([options.against] if options.against else [])
    models, sizes = {}, []
    for folder in folders:
        config, params = load_pretrained(folder, head="saved")
        sizes.append(config.vocab_size)
        # States and logits: of a model without a head, logits alone would be no work at all.
        models[folder] = (functools.partial(apply, config), params)
    latency = compare_latency(models, shapes, vocab_size=min(sizes), rounds=options.rounds)
    rows: list[tuple[str, ...]] = [("latency [ms]", *folders, "speedup")]
    for shape in latency[options.model]:
        times = [latency[folder][shape] for folder in folders]
        gain = f"{times[-1] / times[0]:.2f}x" if options.against else ""
        rows.append((shape, *(f"{time:.2f}" for time in times), gain))
    print(align(rows, left=(0,)))


def _export(options: argparse.Namespace, _: list[str]) -> None:
    from bpjax.deploy.export import export
    from bpjax.models.pretrained import load_pretrained
    from bpjax.models.sources import find_folder

    config, params = load_pretrained(options.model, head="saved")
    found = export(options.to, config, params, find_folder(options.model), options.output)
    print(f"saved in {options.output}")
    for name, value in found.items():
        print(f"{name} {value:.3g}")


def _data_prepare(options: argparse.Namespace, _: list[str]) -> None:
    from bpjax.tasks.prepare import prepare

    prepare(options.task, options.source, options.data_dir)
    print(f"{options.task}: ready in {options.data_dir}")
