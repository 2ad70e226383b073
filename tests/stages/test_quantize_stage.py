"""Runs that end with a model of few bits."""

import json

import pytest
import small_run
from safetensors.numpy import load_file

from bpjax.cli import main
from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.layers.quantization import Quantization
from bpjax.pipeline import run
from bpjax.training.scalars import read_scalars


@pytest.fixture(scope="module")
def quantized(finished_run, tmp_path_factory):
    path, workdir, _ = finished_run
    folder = tmp_path_factory.mktemp("quantized") / "run"
    options = [
        f"teacher.source={workdir / 'teacher' / 'model'}",
        f"prune.source={workdir}",
        "fill.epochs=0",
        "quantize.preset=int8",
        "quantize.epochs=1",
        "quantize.warmup_steps=2",
        "measure.shapes=('1x16',)",
    ]
    config = read_config(str(path), [f"--config.{option}" for option in options])
    return folder, run(config, folder, "bpjax run")


def test_a_run_trains_for_it_and_measures_it_beside_the_others(quantized):
    folder, report = quantized
    rows = [row for row in read_scalars(folder) if row["stage"] == "quantize" and "loss" in row]
    assert [row["step"] for row in rows] == [*range(1, 11)]
    assert all("distillation" in row for row in rows)
    pruned, rounded = report["pruned"], report["quantized"]
    assert set(rounded) >= set(pruned) - {"classes"}
    assert rounded["linear_params"] == pruned["linear_params"]
    assert rounded["bytes_on_disk"] < 0.6 * pruned["bytes_on_disk"]  # its norms are not small
    assert set(report["quantized_speedup"]) == {"1x16"}
    text = (folder / "quantize" / "model" / "README.md").read_text()
    assert "int8" in text


def test_the_integers_say_what_the_trained_floats_do(quantized):
    _, report = quantized
    assert report["quantized_equivalence"] == {
        "max_abs_diff": 0.0,
        "examples": 60,
        "predictions_changed": 0,
    }


def test_the_saved_model_is_the_measured_one(quantized, capsys):
    folder, report = quantized
    model = folder / "quantize" / "model"
    config, _ = load_pretrained(model)
    assert config.quantization == Quantization(8)
    stored = load_file(model / "model.safetensors")
    assert report["quantized"]["total_params"] == sum(x.size for x in stored.values())
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(model), "--task.eval_size=60", "--batch_size=30", "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert {k: found[k] for k in ("f1", "exact_match")} == report["quantized"]["metrics"]


def test_a_quantised_model_is_refused_where_it_would_be_trained(quantized, finished_run, tmp_path):
    folder, _ = quantized
    path, _, _ = finished_run
    model = folder / "quantize" / "model"
    before = small_run.files_under(folder)
    for field in ("model.source", "teacher.source", "distillation.source"):
        config = read_config(str(path), [f"--config.{field}={model}"])
        with pytest.raises(UserError, match="is quantised: expected float parameters"):
            run(config, tmp_path / "run", "bpjax run")
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
    assert small_run.files_under(folder) == before


def test_an_unknown_preset_and_a_warmup_as_long_as_the_stage(finished_run, tmp_path):
    path, _, _ = finished_run
    for options, expected in (
        (["quantize.preset=int3"], "config.quantize.preset is 'int3': expected one of none, int8"),
        (
            ["quantize.preset=int8", "quantize.epochs=1", "quantize.warmup_steps=10"],
            "config.quantize.warmup_steps is 10: expected fewer than the 10 steps",
        ),
    ):
        with pytest.raises(UserError, match=expected):
            config = read_config(str(path), [f"--config.{option}" for option in options])
            run(config, tmp_path / "run", "bpjax run")
