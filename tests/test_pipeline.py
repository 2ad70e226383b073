"""The pipeline end to end on a tiny model: its report, its files, and being killed on the way."""

import json
import pathlib
import re
import runpy
import shutil
import signal

import jax
import numpy as np
import pytest
import small_run
from safetensors.numpy import load_file

from bpjax.cli import main
from bpjax.config import read_config
from bpjax.distributed import RESUME
from bpjax.errors import UserError
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pipeline import run
from bpjax.report.write import KEYS, read_report
from bpjax.training.scalars import read_scalars

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = ("budget", "teacher", "prune", "shrink", "fill", "measure")


@pytest.fixture
def workdir(finished_run):
    return finished_run[1]


def test_the_report_holds_what_is_promised(workdir, small_model):
    report = read_report(workdir)
    assert set(KEYS) <= set(report)
    assert (report["task"], report["model"]) == ("embedded", str(small_model))
    assert (report["pattern"], report["method"], report["seed"]) == ("hybrid", "movement", 17)
    assert report["command"].startswith("bpjax run --config=")
    budget = {"kind": "density", "value": 0.5, "shape": "8x128", "costs": ""}
    assert report["config"]["budget"] == budget
    assert set(report["seconds"]) == {*STAGES, "quantize"}
    assert all(report["seconds"][name] > 0 for name in STAGES)
    assert report["seconds"]["quantize"] == 0 and "quantized" not in report
    shapes = {"1x16", "2x16"}
    for name in ("dense", "pruned"):
        assert set(report[name]["metrics"]) == {"f1", "exact_match"}
        assert set(report[name]["latency_ms"]) == shapes
    assert set(report["speedup"]) == set(report["theoretical_speedup"]) == shapes
    assert report["environment"]["versions"]["jax"]


def test_the_pruned_model_is_smaller_and_equal(workdir):
    report = read_report(workdir)
    assert report["equivalence"]["max_abs_diff"] <= 1e-4
    assert report["equivalence"]["predictions_changed"] == 0
    assert report["equivalence"]["examples"] == 60
    # What was asked for, but for the head that went last, an eighth of this model.
    assert 0.5 - 1 / 8 < report["density"] <= 0.5
    dense, pruned = report["dense"], report["pruned"]
    # Four kernels of 16 × 8 a head, two of 16 × 1 a dimension.
    assert dense["linear_params"] == 2 * (2 * 4 * 128 + 32 * 32)
    left = sum(report["heads_kept"]) * 4 * 128 + sum(report["ffn_kept"]) * 32
    assert pruned["linear_params"] == left
    assert report["density"] == pruned["linear_params"] / dense["linear_params"] < 1
    assert pruned["bytes_on_disk"] < dense["bytes_on_disk"]
    assert all(x > 1 for x in report["theoretical_speedup"].values())
    path = workdir / "fill" / "model" / "model.safetensors"
    assert pruned["bytes_on_disk"] == path.stat().st_size
    assert pruned["total_params"] == sum(x.size for x in load_file(path).values())


def test_the_metrics_of_masked_and_shrunken_model_agree(workdir):
    report = read_report(workdir)
    assert report["shrunken"] == {
        name: report["masked"][name] for name in report["dense"]["metrics"]
    }
    # The shrunken model also stores the zeros inside the heads that survive.
    assert 0 < report["masked"]["final_density"] <= report["density"]


def test_every_stage_is_logged_step_by_step(workdir):
    rows = read_scalars(workdir)
    logged = [(row["stage"], row["step"]) for row in rows if "loss" in row]
    expected = [("teacher", 10), ("prune", 30), ("fill", 10)]
    assert logged == [(name, i) for name, steps in expected for i in range(1, steps + 1)]
    evaluated = [(row["stage"], row["step"]) for row in rows if "f1" in row]
    assert evaluated == [("teacher", 10), *(("prune", i) for i in (10, 20, 30)), ("fill", 10)]
    density = [row["density"] for row in rows if row["stage"] == "prune" and "density" in row]
    final = read_report(workdir)["masked"]["final_density"]
    assert density[0] == 1 and density[-1] == pytest.approx(final, abs=0.05)
    assert all("distillation" in row for row in rows if row["stage"] == "prune" and "loss" in row)


def test_models_and_plots_are_saved_and_checkpoints_are_not(workdir):
    for name in ("masks.png", "curves.png"):
        assert (workdir / name).read_bytes().startswith(b"\x89PNG")
    report = read_report(workdir)
    config, params = load_pretrained(workdir / "fill" / "model", head="saved")
    assert list(config.heads) == report["heads_kept"]
    assert list(config.intermediate) == report["ffn_kept"]
    assert all(
        np.isfinite(x).all() for x in load_file(workdir / "prune/params.safetensors").values()
    )
    assert len(load_tokenizer(workdir / "fill" / "model").get_vocab()) == config.vocab_size
    assert not list(workdir.rglob("checkpoints"))
    assert any((workdir / "tensorboard" / "prune").iterdir())


def test_the_table_is_printed_at_the_end(finished_run):
    _, workdir, printed = finished_run
    report = read_report(workdir)
    assert f"{report['pruned']['metrics']['f1']:.2f}" in printed
    assert str(workdir) in printed
    assert "density=" in printed and "loss=" in printed  # the progress bar


def test_evaluate_gives_the_reported_metric(workdir, capsys):
    model = str(workdir / "fill" / "model")
    with pytest.raises(SystemExit) as end:
        main(["evaluate", model, "--task=embedded", "--task.eval_size=60", "--batch_size=30"])
    assert end.value.code == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    metrics = read_report(workdir)["pruned"]["metrics"]
    assert printed == {name: f"{value:.2f}" for name, value in metrics.items()}


def run_notebook(name):
    return runpy.run_path(str(ROOT / "notebooks" / name))


@pytest.fixture
def optimized():
    """Programs that run for hundreds of steps are worth compiling well."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def test_the_notebook_on_masks(workdir, tmp_path, capsys, monkeypatch):
    again = shutil.copytree(workdir, tmp_path / "again")
    monkeypatch.setenv("BPJAX_RUNS", f"{workdir}:{again}")
    found = run_notebook("02_mask_analysis.py")
    printed = capsys.readouterr().out
    for layer, heads in enumerate(read_report(workdir)["heads_kept"]):
        assert f"layer_{layer}: density " in printed
        assert re.search(rf"attention: query \d+%.* → {heads} of 2 kept", printed)
    last = printed.strip().splitlines()[-1].split()
    assert last[:3] == [workdir.name, "and", "again"] and last[3] == last[5] == "1.00"
    assert found["entropy"].shape == (2, 2) and (found["entropy"] > 0).all()
    assert found["overlap"](np.array([1, 1, 0]) > 0, np.array([1, 0, 0]) > 0)[0] == 0.5


def test_the_notebook_on_block_shapes(workdir, tmp_path, capsys, monkeypatch):
    shutil.copy(workdir / "report.json", tmp_path)
    monkeypatch.setenv("BPJAX_SWEEP", str(tmp_path))
    run_notebook("03_block_shapes.py")
    assert "hybrid   8×8" in capsys.readouterr().out
    assert (tmp_path / "pareto.png").exists()


def test_the_quick_tour(capsys):
    assert run_notebook("01_quick_tour.py")["difference"] < 1e-4
    assert "10,616,832 linear parameters" in capsys.readouterr().out


def test_the_notebook_prunes_a_model_that_is_not_ours(optimized):
    found = run_notebook("04_prune_your_own.py")
    assert found["accuracy"] > 0.9 and found["difference"] < 1e-4
    assert found["count"]["after"] < 0.6 * found["count"]["before"]


def test_a_finished_run_is_not_run_again(finished_run, capsys):
    config, workdir, _ = finished_run
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*")}
    report = read_report(workdir)
    with pytest.raises(SystemExit) as end:
        main(["run", f"--config={config}", f"--workdir={workdir}"])
    assert end.value.code == 0
    assert {path: path.stat().st_mtime_ns for path in workdir.glob("*/*")} == before
    assert read_report(workdir) == report
    assert "step" not in capsys.readouterr().out.split("task embedded")[0]


def test_an_ended_run_ends_as_an_uninterrupted_one(finished_run, tmp_path):
    """Told to end, begun again. Of a run that is killed: test_writing_run.py."""
    config, whole, _ = finished_run
    workdir = tmp_path / "ended"

    def begin(**end):
        process = small_run.start(config, workdir, **end)
        _, stderr = process.communicate(timeout=240)
        return process.returncode, stderr

    def saved():
        return {path.name for path in (workdir / "prune" / "checkpoints").glob("[0-9]*")}

    code, stderr = begin(end_by=signal.SIGTERM)
    assert code == RESUME
    assert re.search("^bpjax: prune step 6: saved; the same command goes on", stderr), stderr
    assert saved() == {"4", "6"}
    # Rows that are not saved are written again.
    assert read_scalars(workdir)[-1]["step"] == 6
    assert not (workdir / "prune" / "done.json").exists()
    assert not (workdir / "report.json").exists()
    teacher = (workdir / "teacher" / "done.json").stat().st_mtime_ns

    code, stderr = begin()
    assert (code, stderr) == (0, ""), stderr
    assert (workdir / "teacher" / "done.json").stat().st_mtime_ns == teacher
    assert small_run.lasting(read_report(workdir)) == small_run.lasting(read_report(whole))
    assert read_scalars(workdir) == read_scalars(whole)
    for stage in ("params", "scores", "masks"):
        path = pathlib.Path("prune", f"{stage}.safetensors")
        assert (workdir / path).read_bytes() == (whole / path).read_bytes()
    assert json.loads((workdir / "config.json").read_text()) == json.loads(
        (whole / "config.json").read_text()
    )


def test_one_run_gives_models_at_several_budgets(finished_run, tmp_path):
    config_file, workdir, _ = finished_run
    overrides = [f"--config.prune.source={workdir}", "--config.budget.value=0.2"]
    overrides += [f"--config.teacher.source={workdir / 'teacher' / 'model'}"]
    config = read_config(str(config_file), [*overrides, "--config.fill.epochs=0"])
    report = run(config, tmp_path / "smaller", "bpjax run")
    assert 0 < report["density"] <= 0.2  # a head of this model is an eighth of it
    larger, smaller = (
        load_file(folder / "prune" / "masks.safetensors")
        for folder in (workdir, tmp_path / "smaller")
    )
    assert all((smaller[name] <= larger[name]).all() for name in larger)

    other = read_config(str(config_file), [*overrides, "--config.pruning.block=(4, 4)"])
    with pytest.raises(UserError, match="prune.source .*: expected the --workdir of a run"):
        run(other, tmp_path / "other", "bpjax run")
