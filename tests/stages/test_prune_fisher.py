"""Whole runs by Fisher importances: what is removed, fitted and said."""

import pytest
from safetensors.numpy import load_file

from bpjax.config import read_config
from bpjax.pipeline import run

AT_ONCE = ["prune.epochs=0", "prune.rearrange", "prune.reconstruct=ridge"]
GRADUALLY = ["prune.epochs=1", "pruning.fisher.cuts=3", "pruning.final_warmup=1.0"]


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


@pytest.mark.parametrize(
    ("overrides", "pattern", "kind", "value"),
    [(AT_ONCE, "struct", "density", 0.4), (GRADUALLY, "hybrid", "params", 24500)],
    ids=["at_once", "gradually"],
)
def test_a_run_spends_its_budget_and_removes_exactly(
    finished_run, tmp_path, overrides, pattern, kind, value
):
    budget = [f"pruning.pattern={pattern}", f"budget.kind={kind}", f"budget.value={value}"]
    report = run_fisher(finished_run, tmp_path / "run", *overrides, *budget)
    assert report["equivalence"]["max_abs_diff"] <= 1e-4
    assert report["equivalence"]["predictions_changed"] == 0
    # What is masked is evaluated as it is cut: fitted, where it is.
    assert report["shrunken"] == {k: report["masked"][k] for k in report["shrunken"]}
    dimension = 2 * 16
    whole = 2 * (2 * 4 * 16 * 8 + 32 * dimension)
    if kind == "density":
        assert value - dimension / whole < report["density"] <= value
    else:
        assert value - dimension - 1 < report["pruned"]["total_params"] <= value
    masks = load_file(tmp_path / "run" / "prune" / "masks.safetensors")
    assert {0.0, 1.0} == {x for mask in masks.values() for x in mask.ravel().tolist()}
    assert report["method"] == "fisher"
