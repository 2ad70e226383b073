"""Whole runs by Fisher importances: what is removed, fitted and said."""

import pytest
import small_run
from safetensors.numpy import load_file

from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.pipeline import run

AT_ONCE = ["prune.epochs=0", "prune.rearrange", "prune.reconstruct=ridge"]
GRADUALLY = ["prune.epochs=1", "pruning.fisher.cuts=3", "pruning.final_warmup=1.0"]
DIMENSION = 2 * 16  # weights
WHOLE = 2 * (2 * 4 * 16 * 8 + 32 * DIMENSION)


def run_fisher(finished_run, folder, *overrides):
    path, workdir, _ = finished_run
    options = [
        f"teacher.source={workdir / 'teacher' / 'model'}",
        "pruning.method=fisher",
        "prune.start=dense",
        "fill.epochs=0",
        "measure.shapes=('1x16',)",
        *overrides,
    ]
    config = read_config(str(path), [f"--config.{option}" for option in options])
    return run(config, folder, "bpjax run")


@pytest.fixture(scope="module")
def at_once(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fisher") / "run"
    budget = ["pruning.pattern=struct", "budget.value=0.4"]
    return folder, run_fisher(finished_run, folder, *AT_ONCE, *budget)


def check_exact(folder, report):
    assert report["method"] == "fisher"
    assert report["equivalence"]["max_abs_diff"] <= 1e-4
    assert report["equivalence"]["predictions_changed"] == 0
    # What is masked is evaluated as it is cut: fitted, where it is.
    assert report["shrunken"] == {k: report["masked"][k] for k in report["shrunken"]}
    masks = load_file(folder / "prune" / "masks.safetensors")
    assert {0.0, 1.0} == {x for mask in masks.values() for x in mask.ravel().tolist()}


def test_a_cut_at_once_spends_its_budget_and_removes_exactly(at_once):
    folder, report = at_once
    check_exact(folder, report)
    assert 0.4 - DIMENSION / WHOLE < report["density"] <= 0.4


def test_a_run_goes_on_from_the_model_of_another(finished_run, at_once, tmp_path):
    folder, before = at_once
    value = before["pruned"]["total_params"] - 500
    report = run_fisher(
        finished_run,
        tmp_path / "run",
        *GRADUALLY,
        f"model.source={folder / 'shrink' / 'model'}",
        "prune.start=pretrained",
        "pruning.pattern=hybrid",
        "budget.kind=params",
        f"budget.value={value}",
    )
    check_exact(tmp_path / "run", report)
    assert value - DIMENSION - 1 < report["pruned"]["total_params"] <= value
    # Compared with the dense model, as the run before it.
    assert report["dense"]["linear_params"] == WHOLE
    assert report["density"] < before["density"]


@pytest.mark.parametrize("options", [["prune.epochs=0"], ["prune.epochs=1"]])
def test_a_dense_model_of_other_sizes_is_no_start(finished_run, at_once, tmp_path, options):
    source = at_once[0] / "shrink" / "model"
    options = [*options, f"model.source={source}", "pruning.pattern=struct"]
    with pytest.raises(UserError, match="expected it to have the sizes of") as caught:
        run_fisher(finished_run, tmp_path / "run", *options)
    assert "\n" not in str(caught.value) and "name it as model.source" in str(caught.value)
    assert not small_run.files_under(tmp_path / "run")
