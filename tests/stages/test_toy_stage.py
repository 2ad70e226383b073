"""A stage of one's own is one record in the list: nothing else knows of it."""

import json
import shutil
import time
from collections import Counter

import numpy as np
import pytest
import small_run

from bpjax import pipeline, stages
from bpjax.config import read_config
from bpjax.models import sources
from bpjax.report.write import read_report
from bpjax.stages.base import Stage
from bpjax.stages.opened import save_model

calls = []


def run(inputs, config, artefacts, folder):
    """Rounds every weight to a multiple of 1/8."""
    calls.append(set(artefacts))
    started = time.perf_counter()
    if len(calls) == 1:
        raise KeyboardInterrupt
    model, params = inputs.opened.open(artefacts["model"])
    save_model(folder, model, _rounded(params), inputs.tokenizer)
    return {"seconds": time.perf_counter() - started, "step": 1 / 8}


def _rounded(tree):
    if isinstance(tree, dict):
        return {name: _rounded(value) for name, value in tree.items()}
    return np.round(np.asarray(tree) * 8) / 8


TOY = Stage(
    name="toy",
    run=run,
    takes=("model",),
    makes="model",
    plan=lambda inputs, config: 5,
    report=lambda notes: {"rounded_to": notes["step"]},
)


@pytest.fixture
def with_toy(monkeypatch):
    calls.clear()
    *others, last = stages.STAGES
    monkeypatch.setattr(stages, "STAGES", (*others, TOY, last))


def test_a_toy_stage_runs_resumes_is_skipped_and_measured(finished_run, tmp_path, with_toy):
    path, whole, _ = finished_run
    workdir = shutil.copytree(whole, tmp_path / "run")
    before = read_report(workdir)
    shutil.rmtree(workdir / "measure")
    (workdir / "report.json").unlink()
    config = read_config(str(path), [])

    def start():
        return pipeline.run(config, workdir, "bpjax run")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert not (workdir / "toy" / "done.json").exists()
    times = {p: p.stat().st_mtime_ns for p in workdir.glob("*/done.json")}
    assert {p.parent.name for p in times} == {"budget", "teacher", "prune", "shrink", "fill"}

    report = start()
    assert calls == [{"model"}, {"model"}]
    assert {p: p.stat().st_mtime_ns for p in times} == times  # the others were skipped
    assert list(report["seconds"])[-4:] == ["fill", "quantize", "toy", "measure"]
    assert (
        report["seconds"]["toy"] == json.loads((workdir / "toy/done.json").read_text())["seconds"]
    )
    assert report["rounded_to"] == 1 / 8
    # What was measured is the toy's model, of the sizes that fill left.
    assert report["heads_kept"] == before["heads_kept"]
    assert report["dense"]["metrics"] == before["dense"]["metrics"]
    assert report["pruned"]["metrics"] != before["pruned"]["metrics"]
    assert (workdir / "toy" / "model" / "README.md").exists()  # the card of the last model
    for name in ("masked", "shrunken", "equivalence"):
        assert report[name] == before[name]

    start()
    assert len(calls) == 2  # skipped


def test_a_dry_run_counts_its_steps(finished_run, tmp_path, with_toy):
    config = read_config(str(finished_run[0]), [])
    planned = pipeline.plan(config, tmp_path / "run")
    assert planned["steps"] == {"teacher": 10, "prune": 30, "fill": 10, "toy": 5}


def test_a_run_opens_each_checkpoint_once(small_model, tmp_path, monkeypatch):
    opened = Counter()
    init = sources.Checkpoint.__init__

    def count(self, folder):
        opened[folder] += 1
        init(self, folder)

    monkeypatch.setattr(sources.Checkpoint, "__init__", count)
    path = small_run.write_config(tmp_path / "config.py", small_model)
    sizes = ["task.train_size=32", "task.eval_size=20", "prune.epochs=2", "budget.value=0.7"]
    overrides = [*sizes, "prune.warmup_steps=0", "teacher.warmup_steps=0", "fill.warmup_steps=0"]
    config = read_config(str(path), [f"--config.{override}" for override in overrides])
    workdir = tmp_path / "run"
    pipeline.run(config, workdir, "bpjax run")
    models = [workdir / name / "model" for name in ("teacher", "shrink", "fill")]
    assert opened == dict.fromkeys([small_model, *models], 1)
    pipeline.run(config, workdir, "bpjax run")  # finished: the checks alone read it
    assert opened == dict.fromkeys(models, 1) | {small_model: 2}
