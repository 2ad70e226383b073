"""Many reports side by side: grouped by all but the seed, refused across tasks."""

import json

import pytest
from test_report import make_report

from bpjax.config import default_fields
from bpjax.errors import UserError
from bpjax.report.compare import (
    choose_shape,
    format_groups,
    format_tasks,
    gather,
    mean_and_deviation,
    only_task,
)
from bpjax.report.pareto import plot_pareto
from bpjax.report.write import find_reports


@pytest.fixture
def runs(tmp_path):
    """Two seeds at one budget, one at another, under one folder."""
    for name, seed, value, metric in (
        ("a", 1, 20.0, 80.0),
        ("b", 2, 20.0, 82.0),
        ("c", 1, 5.0, 85.0),
    ):
        report = make_report()
        report["seed"] = seed
        report["config"] = {
            "seed": seed,
            "budget": {"kind": "penalty", "value": value},
            "pruning": {"block": [32, 32]},
            "teacher": {"source": f"/{name}"},
        }
        key = next(iter(report["pruned"]["metrics"]))
        report["pruned"]["metrics"][key] = metric
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    return tmp_path


def test_runs_that_differ_by_their_seed_are_one_row(runs):
    groups = only_task(gather([runs]))
    assert [(group.name, group.budget, len(group.reports)) for group in groups] == [
        ("", {"budget.value": 20.0}, 2),
        ("", {"budget.value": 5.0}, 1),
    ]
    title, _, first, second = format_groups(groups).splitlines()
    assert title.split()[:2] == ["value", "seeds"]
    assert first.startswith("20 ") and "81.00 ± 1.41" in first
    assert second.startswith("5 ") and "85.00" in second


def test_a_name_tells_what_is_not_usual(runs):
    for name, method, epochs, block in (
        ("a", "l0", 2, [32, 32]),
        ("b", "movement", 2, [4, 4]),
        ("c", "movement", 0, [32, 32]),
    ):
        path = runs / name / "report.json"
        report = json.loads(path.read_text())
        report["config"]["pruning"] = {"block": block, "method": method}
        report["config"]["prune"] = {"epochs": epochs}
        path.write_text(json.dumps(report))
    groups = only_task(gather([runs]))
    names = ["l0", "movement, block 4×4", "movement, prune.epochs 0"]
    assert [group.name for group in groups] == names
    title, _, *rows = format_groups(groups).splitlines()
    assert title.split()[:3] == ["run", "value", "seeds"]
    assert [row.startswith(name) for row, name in zip(rows, names, strict=True)] == [True] * 3


def test_models_cut_from_other_runs_are_a_row_of_their_own(runs):
    for name, source in (("a", "runs/x"), ("b", "runs/y"), ("c", "")):
        path = runs / name / "report.json"
        report = json.loads(path.read_text())
        report["config"] = {**report["config"], "prune": {"source": source}, "budget": {}}
        path.write_text(json.dumps(report))
    groups = only_task(gather([runs]))
    assert [(group.name, len(group.reports)) for group in groups] == [
        ("", 2),
        ("prune.source none", 1),
    ]


def test_a_field_that_older_runs_lack_names_nothing(runs):
    path = runs / "a" / "report.json"
    report = json.loads(path.read_text())
    report["config"]["batch"] = {"accumulate": 1}
    path.write_text(json.dumps(report))
    groups = only_task(gather([runs], default_fields))
    assert [len(group.reports) for group in groups] == [2, 1]
    report["config"]["batch"] = {"accumulate": 2}
    path.write_text(json.dumps(report))
    names = {group.name for group in only_task(gather([runs], default_fields))}
    assert names == {"", "batch.accumulate 2"}


def change(folder, **changes):
    path = folder / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


EPYC = {"device": "AMD EPYC", "backend": "cpu", "cores": 2}
XEON = {"device": "Intel(R) Xeon(R) Processor", "backend": "cpu", "cores": 2}


def test_machines_are_told_where_they_differ_and_have_rows_of_their_own(runs):
    for name, environment in (("a", EPYC), ("b", XEON), ("c", EPYC)):
        change(runs / name, environment=environment)
    groups = only_task(gather([runs]))
    assert [(group.name, group.machine, len(group.reports)) for group in groups] == [
        ("", "AMD EPYC, 2 cores", 1),
        ("", "Intel Xeon, 2 cores", 1),
        ("", "AMD EPYC, 2 cores", 1),
    ]
    title, _, *rows = format_groups(groups).splitlines()
    assert title.split()[:3] == ["value", "seeds", "machine"]
    assert [row.split()[2] for row in rows] == ["AMD", "Intel", "AMD"]
    plot_pareto(groups, "8x128", runs / "p.png")  # a series a machine
    change(runs / "b", environment=EPYC)
    groups = only_task(gather([runs]))
    assert [(group.machine, len(group.reports)) for group in groups] == [("", 2), ("", 1)]
    assert "machine" not in format_groups(groups)


def test_machines_that_differ_between_tasks_are_told_in_every_row(runs):
    for name, environment in (("a", EPYC), ("b", EPYC), ("c", EPYC | {"cores": 1})):
        change(runs / name, environment=environment)
    change(runs / "c", task="other")
    text = format_tasks(gather([runs]))
    assert text.count("AMD EPYC, 2 cores") == text.count("AMD EPYC, 1 core ") == 1


def test_a_machine_does_not_change_what_is_usual(runs):
    """A field's usual value is that of most configs, on however many machines each ran."""
    for name, epochs, device in (("a", 1, "A"), ("b", 2, "A"), ("c", 2, "B")):
        config = {"prune": {"epochs": epochs}}
        change(runs / name, config=config, environment={"device": device})
    names = [group.name for group in only_task(gather([runs]))]
    assert names == ["", "prune.epochs 2", "prune.epochs 2"]


def test_kinds_of_other_architectures_have_columns_of_their_own(runs):
    sizes = {"layer_0/attention": [2, 1], "layer_0/experts/0": 4, "layer_0/experts/1": 5}
    change(runs / "c", sizes=sizes)
    title, _, first, second = format_groups(only_task(gather([runs]))).splitlines()
    assert "heads  FFN dimensions  experts" in title
    assert " 3 ± 0        1060 ± 0        –  " in first
    assert second.split()[-6:-3] == ["3", "–", "9"]


def test_a_report_of_no_run_is_passed_over(runs):
    (runs / "faults").mkdir()
    (runs / "faults" / "report.json").write_text('{"command": "make faults", "kill": {"lost": 0}}')
    assert sum(len(group.reports) for group in only_task(gather([runs]))) == 3


def test_a_report_counts_once(runs, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "b"
    link.symlink_to(runs / "b")
    for folders in ([runs, runs / "a"], [runs, runs], [runs / "c" / ".." / "a", runs, link]):
        assert sorted(report["seed"] for report in find_reports(folders)) == [1, 1, 2]
    found = find_reports([runs / "b", runs])
    assert [report["config"]["teacher"]["source"] for report in found] == ["/b", "/a", "/c"]
    (runs / "nothing").mkdir()
    with pytest.raises(UserError, match="nothing: expected a finished run's folder"):
        find_reports([runs, runs / "nothing"])


def test_a_metric_that_some_lack_is_a_dash(runs):
    path = runs / "c" / "report.json"
    report = json.loads(path.read_text())
    for part in ("dense", "pruned"):
        report[part]["metrics"]["accuracy_mismatched"] = 70.0
    path.write_text(json.dumps(report))
    title, _, first, second = format_groups(only_task(gather([runs]))).splitlines()
    assert "accuracy_mismatched" in title
    assert "–" in first and "70.00" in second


def test_spread_is_of_a_sample():
    assert mean_and_deviation([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert mean_and_deviation([2.5]) == "2.50"
    assert mean_and_deviation([1.0, None]) == mean_and_deviation([]) == "–"


def test_the_shape_is_one_that_all_measured(runs):
    groups = only_task(gather([runs]))
    assert choose_shape(groups) == choose_shape(groups, "1x128") == "1x128"
    assert choose_shape(groups, "8x128") == "8x128"
    with pytest.raises(UserError, match=r"shape 4x7: expected .*, 8x128 or 1x128; name one"):
        choose_shape(groups, "4x7")
    groups[0].reports[0]["speedup"] = {"2x2": 1.0}
    with pytest.raises(UserError, match="and there is none; "):
        choose_shape(groups)


def test_the_plot_is_a_picture(runs):
    groups = only_task(gather([runs / "a", runs / "b", runs / "c"]))
    plot_pareto(groups, next(iter(groups[0].reports[0]["speedup"])), runs / "p.png")
    assert (runs / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_refuses_what_cannot_be_compared(runs, tmp_path):
    with pytest.raises(UserError, match="nothing: expected a finished run's folder"):
        gather([tmp_path / "nothing"])
    other = json.loads((runs / "a" / "report.json").read_text())
    (runs / "a" / "report.json").write_text(json.dumps(other | {"task": "other"}))
    with pytest.raises(UserError, match="reports of .* and .*: expected one task"):
        only_task(gather([runs]))
    text = format_tasks(gather([runs]))
    assert text.startswith("other\n") and f"\n\n{make_report()['task']}\n" in text
