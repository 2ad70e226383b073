"""Configs: every file under configs/, overrides, and what is refused before anything runs."""

import dataclasses
import json
import pathlib

import pytest
from checkpoints import refused
from flax import traverse_util
from ml_collections import ConfigDict

from bpjax.cli import main
from bpjax.config import (
    RunConfig,
    default_config,
    default_fields,
    read_config,
    read_saved,
    validate,
)
from bpjax.config.fields import declared
from bpjax.config.listing import list_fields
from bpjax.errors import UserError
from bpjax.pruning.methods import METHODS
from bpjax.pruning.patterns import PATTERNS
from bpjax.tasks import TASKS, task_options

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))
EMBEDDED = "from bpjax.config import default_config\n\ndef get_config():\n"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def plain(write):
    """A config that changes nothing, but for the paper's method and penalty."""
    changes = (
        "pruning.method, config.pruning.pattern = 'movement', 'hybrid'",
        "budget.kind, config.budget.value = 'penalty', 20.0",
    )
    lines = [f"    config.{change}\n" for change in changes]
    text = "    config = default_config(task='embedded')\n"
    return write(EMBEDDED + text + "".join(lines) + "    return config\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_how_to_run_it(path):
    config = read_config(str(path), [])
    assert config.task.name in TASKS
    header = path.read_text().split('"""')[1]
    assert "Command:" in header and "Hardware:" in header


@pytest.mark.parametrize("task", TASKS)
def test_the_defaults_are_valid_for_every_task(task):
    config = default_config(task)
    validate(config)
    assert set(config.task) == {"name", *task_options(task)}


@pytest.mark.parametrize(
    ("method", "pattern"),
    [(m, p) for m in METHODS for p in PATTERNS if (m == "cofi") == (p == "cofi")],
)
def test_every_pattern_and_method_can_be_asked_for(plain, method, pattern):
    penalized = method in ("movement", "l0")
    budget = [] if penalized else ["--config.budget.kind=density"]
    arguments = [f"--config.pruning.pattern={pattern}", f"--config.pruning.method={method}"]
    if method == "activation":  # which does not train
        budget.append("--config.prune.epochs=0")
    config = read_config(plain, [*arguments, *budget, "--config.budget.value=0.5"])
    assert (config.pruning.pattern, config.pruning.method) == (pattern, method)


def test_overrides_keep_the_fields_types(plain):
    config = read_config(
        plain,
        [
            "--config.pruning.block=(16, 8)",
            "--config.batch.buckets=(32, 64)",
            "--config.budget.value=40",
            "--config.seed=3",
            "--config.measure.shapes=('1x32',)",
        ],
    )
    assert config.pruning.block == (16, 8) and config.batch.buckets == (32, 64)
    assert config.budget.value == 40.0 and isinstance(config.budget.value, float)
    assert (config.seed, config.measure.shapes) == (3, ("1x32",))
    squad = read_config(plain, ["--config.task.train_size=10", "--config.task.holdout=2"])
    assert (squad.task.train_size, squad.task.holdout) == (10, 2)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("seed=-1", "config.seed is -1: expected a whole number of at least 0"),
        ("model.dtype=float16", "config.model.dtype is 'float16': expected one of float32"),
        ("task.name=sst3", "config.task.name is 'sst3': expected one of cola, sst2, mrpc"),
        ("batch.size=0", "config.batch.size is 0: expected a whole number of at least 1"),
        ("batch.buckets=(0, 8)", r"config.batch.buckets is \(0, 8\): expected whole numbers"),
        ("batch.buckets=(6.5,)", r"config.batch.buckets is \(6.5,\): expected whole numbers"),
        ("pruning.method=movment", "is 'movment': expected one of movement, magnitude"),
        ("pruning.pattern=blocks", "is 'blocks': expected one of block, hybrid, struct, unstr"),
        ("pruning.block=(0, 32)", r"config.pruning.block is \(0, 32\): expected two whole"),
        ("pruning.block=(32,)", r"config.pruning.block is \(32,\): expected two whole numbers"),
        ("pruning.block=(4.5, 32)", r"config.pruning.block is \(4.5, 32\): expected two whole"),
        (
            "pruning.movement.binarizer=topk",
            "is 'topk': expected one of sigmoid_threshold, threshold",
        ),
        (
            "pruning.movement.floor=1.5",
            "config.pruning.movement.floor is 1.5: expected a number at least 0 and at",
        ),
        ("pruning.threshold_initial=-0.1", "expected a number at least 0 and at most 1"),
        ("pruning.threshold_final=1.1", "threshold_final is 1.1: expected a number at least 0"),
        ("pruning.threshold_final=nan", "threshold_final is nan: expected a number at least 0"),
        ("pruning.movement.attention_weight=-1.0", "is -1.0: expected a number at least 0;"),
        ("budget.kind=size", "config.budget.kind is 'size': expected one of penalty, density"),
        ("budget.value=-2.0", "config.budget.value is -2.0: expected a number at least 0"),
        (
            "pruning.method=magnitude",
            r"budget.kind 'penalty': magnitude\(binarizer=top_k, n_of_m=\(2, 4\),"
            r" permanent=False\) takes density or ",
        ),
        ("budget.shape=8by128", "shape '8by128': expected BATCHxLENGTH such as 8x128"),
        (
            "pruning.movement.binarizer=top_k",
            r"binarizer=top_k, .*\) takes density or params or bytes or speedup; choose",
        ),
        ("distillation.weight=1.2", "distillation.weight is 1.2: expected a number at least 0"),
        ("distillation.temperature=0.0", "temperature is 0.0: expected a number above 0"),
        ("teacher.epochs=-1", "teacher.epochs is -1: expected a whole number of at least 0"),
        ("prune.learning_rate=inf", "learning_rate is inf: expected a number above 0"),
        ("prune.score_learning_rate=0.0", "expected a number above 0"),
        ("fill.clip=0.0", "config.fill.clip is 0.0: expected a number above 0"),
        ("fill.epochs=-1", "config.fill.epochs is -1: expected a whole number of at least 0"),
        ("shrink.round_to=0", "config.shrink.round_to is 0: expected a whole number of at least 1"),
        ("measure.shapes=('8by128',)", "shape '8by128': expected BATCHxLENGTH such as 8x128"),
        ("measure.rounds=0", "config.measure.rounds is 0: expected a whole number of at least 1"),
        ("checkpoint_every=0", "config.checkpoint_every is 0"),
        # What the types refuse before a range is looked at.
        ("foo=1", "argument --config.foo=1: .*foo.*; expected --config.FIELD=VALUE"),
        ("pruning.blok=(8, 8)", "pruning.blok"),
        ("seed=many", "argument --config.seed=many: .*many"),
        ("pruning.block=32x32", "pruning.block"),
    ],
)
def test_refuses_a_value(plain, override, match):
    with refused(match):
        read_config(plain, [f"--config.{override}"])


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("budget.kind=density", "budget.value=1.4"), "budget.value is 1.4: .* and at most 1"),
        (("budget.kind=speedup", "budget.value=0.5"), "budget.value is 0.5: .* at least 1"),
        (
            ("budget.kind=density", "pruning.movement.binarizer=n_m"),
            "'density': movement.*n_m.* takes penalty; choose",
        ),
    ],
)
def test_refuses_a_budget(plain, overrides, match):
    with refused(match):
        read_config(plain, [f"--config.{override}" for override in overrides])


@pytest.mark.parametrize("argument", ["leftover", "--unknown=1"])
def test_refuses_an_argument_that_is_no_field(plain, argument):
    with refused(f"argument .*{argument.strip('-').partition('=')[0]}.*expected --config.FIELD"):
        read_config(plain, [argument])


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (EMBEDDED + "    return undefined\n", "NameError: name 'undefined' is not defined"),
        (EMBEDDED + "    return (\n", "SyntaxError"),
        ("x = 1\n", "KeyError: 'get_config'; expected get_config()"),
        (EMBEDDED + "    return {}\n", "get_config() gives dict, expected a ConfigDict"),
        (EMBEDDED + "    c = default_config()\n    c.foo = 1\n    return c\n", "foo"),
        (EMBEDDED + "    c = default_config()\n    c.seed = 'x'\n    return c\n", "seed"),
        (EMBEDDED + "    return default_config('sst3')\n", "task 'sst3': expected one of cola"),
        (
            EMBEDDED + "    c = default_config()\n    c.pruning.method = 'movement'\n"
            "    c.pruning.movement.floor = 2.0\n    return c\n",
            "config.pruning.movement.floor is 2.0",
        ),
    ],
)
def test_refuses_a_file_with_an_error(write, body, match):
    import re

    with refused(re.escape(match) if "(" in match else match) as _:
        read_config(write(body), [])


def test_refuses_a_missing_file(tmp_path):
    with refused("none.py: no such file; name a file under configs/"):
        read_config(str(tmp_path / "none.py"), [])


def test_the_config_is_one_that_json_can_hold():
    assert isinstance(default_config(), ConfigDict)
    assert default_config().to_dict()["pruning"]["block"] == (32, 32)


@pytest.mark.parametrize("task", TASKS)
def test_every_field_is_listed_with_its_default_and_a_sentence(task):
    listed = {found.name: found for found in list_fields(task)}
    expected = traverse_util.flatten_dict(default_config(task).to_dict(), sep=".")
    assert {name: found.default for name, found in listed.items()} == expected
    for found in listed.values():
        assert found.text.endswith(".") and found.text[0] != " " and found.takes, found


def test_the_command_prints_the_fields(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["config", *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    printed = call("--task=sst2")
    assert "\nbatch: Batches of training and evaluation.\n  --config.batch.size=32\n" in printed
    assert "Rows of a training batch. Takes a whole number of at least 1." in printed
    assert "--config.task.holdout=0" in printed and "task.train_size" not in printed
    found = json.loads(call("--json"))
    assert found["task.train_size"]["default"] == 4000
    assert found["distillation.hidden.fill"] == {
        "default": 0.0,
        "takes": "a number at least 0",
        "text": "Weight of the squared difference of the hidden states. In fill.",
    }


def test_a_validated_config_is_typed_and_frozen(plain):
    config = validate(read_config(plain, ["--config.seed=3", "--config.pruning.l0.initial=1.0"]))
    assert isinstance(config, RunConfig) and config.seed == 3
    assert config.pruning.methods["l0"]["initial"] == 1.0
    assert config.pruning.options == config.pruning.methods["movement"]
    assert config.task.options["train_size"] == 4000 and config.fill.learning_rate == 3e-5
    for name in (found.name for found in declared(RunConfig)):
        *sections, last = name.split(".")
        record = config
        for section in sections:
            record = getattr(record, section)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, last, None)


def test_a_saved_config_is_read_with_todays_fields():
    saved = default_fields("embedded")
    saved["pruning"]["block"] = [4, 8]
    del saved["shrink"], saved["pruning"]["movement"]["floor"]
    config = read_saved(saved)
    assert config.pruning.block == (4, 8) and config.shrink.round_to == 1
    with pytest.raises(UserError, match="earlier run: .*foo.*: expected today's fields"):
        read_saved(saved | {"foo": 1})
