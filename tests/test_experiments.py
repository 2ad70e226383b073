"""The sweeps of experiments/ hold valid configs and share teachers; tables match runs of a kind."""

import pathlib
import runpy
import sys

import pytest

from bpjax.config import default_fields, read_sweep
from bpjax.report.write import write_report

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "experiments"
TABLES = runpy.run_path(str(FOLDER / "paper_tables.py"))
SWEEPS = sorted(p for p in FOLDER.glob("*.py") if "get_sweep" in p.read_text())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_can_be_read(path, tmp_path):
    configs = list(read_sweep(str(path), tmp_path, []).items())
    assert len(configs) > 1
    (first, start), *others = configs
    assert start.teacher.source == ""
    if len({config.task.name for _, config in configs}) < len(configs):
        teacher = str(tmp_path / first / "teacher" / "model")
        assert {config.teacher.source for _, config in others} == {teacher}
        assert {config.distillation.cache for _, config in configs} == {
            str(tmp_path / "teacher_logits")
        }
    else:  # each run has a task of its own, and so a teacher
        assert {config.teacher.source for _, config in others} == {""}
    for number, (_, config) in enumerate(configs):
        earlier = {str(tmp_path / name) for name, _ in configs[:number]}
        assert config.prune.source in {"", *earlier}
        trained = {f"{run}/{stage}/model" for run in earlier for stage in ("shrink", "fill")}
        assert config.model.source in {start.model.source, *trained}
    assert "bpjax sweep " in path.read_text()


def print_tables(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["paper_tables.py", str(folder)])
    TABLES["main"]()


def test_the_papers_tables_hold_our_runs_where_there_are_some(tmp_path, monkeypatch, capsys):
    sst2 = {"task": "sst2", "dense.metrics.accuracy": 91.5, "pruned.metrics.accuracy": 90.5}
    for name, report in (("squad", a_run()), ("sst2", a_run(**sst2))):
        (tmp_path / name).mkdir()
        write_report(report, tmp_path / name)
    print_tables(tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    dense = [line.split() for line in lines if line.startswith("BERT-base")]
    assert [row[2] for row in dense] == ["88.5", "88.1", "84.6", "88.1", "92.7"]  # published
    assert ["a-bert" in row for row in dense] == [True, True, False, False, True]
    (filled,) = (line for line in lines if line.startswith("hybrid-filled b") and "a-bert" in line)
    assert filled.endswith("25.0%  65.8         53.4  2.50× at 8x384  AMD EPYC, 2 cores")


def test_the_papers_tables_need_runs(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        print_tables(tmp_path, monkeypatch)
    assert f"{tmp_path}: expected a finished run's folder" in capsys.readouterr().err


def a_run(**changes):
    """The report of a filled hybrid model, some of it changed by flat names."""
    model = {"linear_params": 8, "total_params": 9, "bytes_on_disk": 36, "latency_ms": {}}
    config = default_fields("squad")
    config["fill"]["epochs"] = 1
    report = {
        "task": "squad",
        "model": "a-bert",
        "pattern": "hybrid",
        "method": "movement",
        "seed": 17,
        "command": "bpjax run",
        "config": config,
        "environment": {"backend": "cpu", "device": "AMD EPYC", "cores": 2},
        "seconds": {},
        "dense": model | {"metrics": {"f1": 68.8, "exact_match": 56.9}},
        "pruned": model | {"metrics": {"f1": 65.8, "exact_match": 53.4}},
        "masked": {"final_density": 0.26},
        "sizes": {},
        "speedup": {"8x128": 2.56, "8x384": 2.498},
        "theoretical_speedup": {},
        "equivalence": {"max_abs_diff": 0.0, "examples": 1},
    }
    for name, value in {"density": 0.25, **changes}.items():
        *parts, last = name.split(".")
        inner = report
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return report


def cells(*reports, title="SQuAD v1.1"):
    """Our cells of a table by its row's name, where there are some."""
    (table,) = (table for table in TABLES["PUBLISHED"] if table.title == title)
    lines = TABLES["format_table"](table, list(reports)).splitlines()[2:]
    pairs = [(line.split("  ")[0], line.partition(reports[0]["model"])) for line in lines]
    return {name: ours.split() for name, (_, model, ours) in pairs if model}


UNFILLED = {"config.fill.epochs": 0, "density": 0.5}
BLOCK = UNFILLED | {"pattern": "block", "masked.final_density": 0.4}
LARGE = {"config.distillation.source": "bert-large"}


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, ["hybrid-filled b"]),
        ({"density": 0.45}, []),
        (UNFILLED | {"masked.final_density": 0.12}, ["hybrid, λ 20"]),
        (BLOCK, ["block 32x32, λ 10"]),
        (BLOCK | {"config.pruning.block": [16, 16]}, []),
        (BLOCK | {"config.pruning.block": [4, 4], "masked.final_density": 0.2}, ["block 4x4"]),
        (LARGE, ["large teacher e"]),
        (LARGE | {"density": 0.45}, ["large teacher d"]),
        (LARGE | UNFILLED | {"masked.final_density": 0.12}, []),
        (LARGE | {"config.teacher.source": "bert-large"}, ["hybrid-filled b"]),  # both are its own
        ({"config.prune.rewind": "runs/earlier"}, []),
        ({"config.pruning.movement.binarizer": "n_m"}, []),
        ({"method": "magnitude"}, []),
        ({"method": "cofi", "pattern": "cofi", "density": 0.4}, ["CoFi, 2×"]),
    ],
)
def test_a_run_stands_only_beside_published_models_of_its_kind(changes, rows):
    assert list(cells(a_run(**changes))) == ["BERT-base", *rows]


def test_a_run_on_held_out_rows_stands_nowhere():
    assert cells(a_run(**{"config.task.holdout": 1_000})) == {}


def test_single_weights_are_matched_by_method_and_share():
    title = "SQuAD v1.1, single weights (Sanh et al. 2020)"
    single = UNFILLED | {"pattern": "unstructured", "masked.final_density": 0.04, "density": 1.0}
    top_k = single | {"config.pruning.movement.binarizer": "top_k"}
    assert list(cells(a_run(**single), title=title)) == ["BERT-base", "soft movement, 3%"]
    assert list(cells(a_run(**top_k), title=title)) == ["BERT-base", "movement, 3%"]
    magnitude = single | {"method": "magnitude"}
    for options, rows in (
        ({}, ["magnitude, 3%"]),  # of runs that had no such option
        ({"binarizer": "top_k", "permanent": False}, ["magnitude, 3%"]),
        ({"binarizer": "n_m"}, []),
        ({"binarizer": "top_k", "permanent": True}, []),
    ):
        run = a_run(**magnitude, **{"config.pruning.magnitude": options})
        assert list(cells(run, title=title)) == ["BERT-base", *rows]


@pytest.mark.parametrize("order", [1, -1])
def test_runs_that_tell_their_rows_come_before_those_that_do_not(order):
    unknown = a_run(**{"pruned.metrics.f1": 60.1, "density": 21 / 85})  # exactly the published one
    limited = a_run(**{"pruned.metrics.f1": 61.1, "config.task.limit": 3_000})
    counted = a_run(**{"pruned.metrics.f1": 62.1, "rows.train": 8_200})

    def shown(*reports):
        return cells(*reports[::order])["hybrid-filled b"][:3]

    assert shown(unknown) == ["24.7%", "60.1", "53.4"]  # no rows
    assert shown(unknown, limited) == ["3,000", "25.0%", "61.1"]
    assert shown(unknown, limited, counted) == ["8,200", "25.0%", "62.1"]


def test_rows_of_a_dense_model_are_those_it_was_trained_on_in_the_same_run():
    here = a_run(**{"rows.train": 8_200, "dense.metrics.f1": 70.1})
    given = a_run(**{"rows.train": 88_000, "config.teacher.source": "runs/dense/teacher/model"})
    assert cells(given)["BERT-base"][:2] == ["100.0%", "68.8"]
    assert cells(given, here)["BERT-base"][:3] == ["8,200", "100.0%", "70.1"]
    assert cells(given, here)["hybrid-filled b"][0] == "88,000"
