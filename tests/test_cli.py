"""The command line: help with examples, and every command on tiny models."""

import json
import subprocess
import sys

import jax
import pytest
import small_run
from test_tasks_prepare import write_sst2

from bpjax import cli
from bpjax.measure import latency
from bpjax.models.checkpoint import load_pretrained
from bpjax.tasks import get_task
from bpjax.training.evaluation import apply

COMMANDS = (
    "run",
    "sweep",
    "report",
    "evaluate",
    "inspect",
    "benchmark",
    "export",
    "config",
    "data",
)
DENSE = small_run.SMALL.replace(vocab_size=40, head="classification")
SMALLER = DENSE.replace(
    heads=(1, 0),
    intermediate=(7, 0),
    dense_sizes=(DENSE.heads, DENSE.intermediate, DENSE.hidden_size),
)


@pytest.fixture
def call(capfd):
    """Calls the program, which must end well and leave standard error empty."""

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert (end.value.code, err) == (0, "")
        return out

    return call


@pytest.fixture
def models(tmp_path):
    dense = small_run.save_model(tmp_path / "dense", DENSE, tokenizer=None)
    return dense, small_run.save_model(tmp_path / "smaller", SMALLER, tokenizer=None)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(call, command):
    printed = call(command, "--help")
    assert f"example:\n  bpjax {command} " in printed


def test_help_names_all_commands(call):
    printed = call("--help")
    assert set(COMMANDS) <= {line.strip().partition(" ")[0] for line in printed.splitlines()}
    assert "example:\n  bpjax run --config=" in printed


def test_python_m_is_the_same_program():
    def show(*program):
        run = subprocess.run(program, capture_output=True, text=True, check=False)
        return run.returncode, run.stdout, run.stderr

    code = "from bpjax.cli import main; main(['data', '--help'])"
    module = show(sys.executable, "-m", "bpjax", "data", "--help")
    assert module == show(sys.executable, "-c", code)
    assert module[0] == 0 and "usage: bpjax data" in module[1] and not module[2]


def test_inspect_counts_what_is_left(call, models):
    lines = [line.split() for line in call("inspect", models[1]).splitlines()]
    # Of a layer's 2048 weights 16 × (4 × 8 + 2 × 7) are left: 35.9%, and half of that over both.
    assert ["0", "1", "7", "35.9%", "100.0%"] in lines
    assert ["all", "1", "7", "18.0%", "100.0%"] in lines
    assert ["736", "linear", "parameters", "stored", "in", "2", "layers"] in lines


def test_quiet_says_nothing_and_json_is_json_alone(call, models):
    assert call("inspect", models[1], "--quiet") == ""
    found = json.loads(call("inspect", models[1], "--json"))
    assert (found["heads"], found["intermediate"]) == ([1, 0], [7, 0])
    assert found["linear_params"] == 736
    assert found["sizes"]["layer_0/ffn"] == 7 and found["density"] == [736 / 2048, 0.0]


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(call, tmp_path, small_model):
    config = small_run.write_config(tmp_path / "config.py", small_model)
    arguments = "run", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--dry-run"
    found = json.loads(call(*arguments, "--json"))
    assert found["steps"] == {"teacher": 10, "prune": 30, "fill": 10}
    assert found["rows"] == {"train": 160, "evaluation": 60}
    assert found["seconds"]["prune"] > found["seconds"]["fill"] > 0
    assert found["step_bytes"] > 3 * 4 * found["model"]["parameters"]
    printed = call(*arguments)
    assert "160 rows to train on" in printed and "Nothing was written" in printed
    assert not (tmp_path / "run").exists()


def test_benchmark_times_one_model(call, models):
    shape = call("benchmark", models[0], "--shapes=2x8", "--rounds=2").splitlines()[-1].split()
    assert shape[0] == "2x8" and float(shape[1]) > 0 and len(shape) == 2


def test_benchmark_times_two_against_each_other(call, models, monkeypatch):
    dense, smaller = models
    asked = []

    def compare(models, shapes, inputs, rounds):
        widths = [len(params["layer_0"]["ffn"]["in"]["bias"]) for _, params in models.values()]
        asked.append((widths, shapes, inputs[0].below, rounds))
        times = (1.0, 1.25), (3.0, 4.0)
        return {
            name: dict(zip(("1x8", "2x16"), medians, strict=True))
            for name, medians in zip(models, times, strict=True)
        }

    monkeypatch.setattr(latency, "compare_latency", compare)
    arguments = ("--shapes=1x8,2x16", "--rounds=2")
    *_, first, second = call("benchmark", smaller, f"--against={dense}", *arguments).splitlines()
    assert asked == [([7, 32], [(1, 8), (2, 16)], 40, 2)]
    assert first.split() == ["1x8", "1.00", "3.00", "3.00x"]
    assert second.split() == ["2x16", "1.25", "4.00", "3.20x"]


def test_benchmark_of_a_model_without_a_head_times_its_layers(tmp_path):
    config, params = load_pretrained(
        small_run.save_model(tmp_path / "m", DENSE.replace(head="none"), tokenizer=None)
    )
    batch = {
        name: jax.numpy.ones((1, 4), int)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    shapes = jax.eval_shape(lambda p: apply(config, p, batch), params)
    assert [x.shape for x in jax.tree.leaves(shapes)] == [(1, 4, 16)]


def test_export(call, models, tmp_path):
    _, smaller = models
    for form, sizes in (
        ("hf", (SMALLER.heads, SMALLER.intermediate)),
        ("hf-padded", (DENSE.heads, DENSE.intermediate)),
    ):
        folder = tmp_path / form
        printed = call("export", smaller, f"--to={form}", f"--output={folder}")
        assert printed == f"saved in {folder}\n"
        config, _ = load_pretrained(folder, head="saved")
        assert (config.heads, config.intermediate) == sizes
    folder = tmp_path / "stablehlo"
    lines = call("export", smaller, "--to=stablehlo", f"--output={folder}").splitlines()
    assert [line.split()[0] for line in lines] == ["saved", "max_abs_diff", "ms", "bpjax_ms"]
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert names == {"config.json", "model.safetensors", "modeling_bpjax.py"}


def test_prepared_data_is_what_evaluate_reads(call, tmp_path):
    source, data_dir = write_sst2(tmp_path / "official"), tmp_path / "tfds"
    printed = call("data", "prepare", "sst2", f"--source={source}", f"--data_dir={data_dir}")
    assert printed == f"sst2: ready in {data_dir}\n"
    config = small_run.SMALL.replace(head="classification")
    model = small_run.save_model(tmp_path / "model", config)
    printed = call("evaluate", model, "--task=sst2", f"--task.data_dir={data_dir}")
    assert printed in ("accuracy 0.00\n", "accuracy 100.00\n")  # dev.tsv has one row
    assert get_task("sst2", data_dir=str(data_dir)).metric == "accuracy"
