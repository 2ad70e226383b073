"""Every report and table under results/ is read by today's reader."""

import json
import pathlib
import re

import pytest

from bpjax.config import default_fields
from bpjax.report.compare import format_tasks, gather
from bpjax.report.environment import name_machine
from bpjax.report.sizes import encoder_sizes, sizes_of, units_by_kind
from bpjax.report.table import format_report
from bpjax.report.write import find_missing, find_reports

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "results"
README = RESULTS / "README.md"
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def reports():
    return find_reports([RESULTS])


def test_every_run_is_read_and_has_its_table(reports):
    assert len(reports) > 70
    for report in reports:
        assert not find_missing(report)
        sizes = sizes_of(report)
        if encoder := encoder_sizes(sizes):
            assert len(encoder.heads) == len(encoder.ffn) > 0
            assert units_by_kind(sizes) == {
                "attention": sum(report["heads_kept"]),
                "ffn": sum(report["ffn_kept"]),
            }
        else:  # its stacks are told apart
            stacks = report["pruned"]["linear_params_by_stack"]
            assert sum(stacks.values()) == report["pruned"]["linear_params"]
        text = format_report(report)
        assert f"{report['density']:.1%} of the linear parameters" in text
        assert all(metric in text for metric in report["dense"]["metrics"])


def test_they_can_be_compared_and_tell_their_machines(reports):
    groups = gather([RESULTS], default_fields)
    assert sum(len(g.reports) for found in groups.values() for g in found) == len(reports)
    machines = {group.machine for found in groups.values() for group in found}
    assert len(machines) > 1 and not machines & {"", "not recorded"}
    text = format_tasks(groups)
    assert all(machine in text for machine in machines)


def test_every_other_file_of_numbers_parses():
    paths = [*RESULTS.rglob("*.json"), *RESULTS.rglob("*.jsonl")]
    assert len(paths) > 70
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            assert isinstance(json.loads(part), dict), path


def environments(value):
    """Every `environment` in a report, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "environment" else environments(inner)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_readme_names_the_machines_of_every_folder(name):
    machine = r"(\w[^|]*, \d cores?|NVIDIA \w+)"
    rows = re.findall(rf"^\| {machine} \| (.*) \|$", README.read_text(), re.MULTILINE)
    found = {
        name_machine(environment)
        for path in (RESULTS / name).rglob("*.json")
        for environment in environments(json.loads(path.read_text()))
    }
    assert {machine for machine, folders in rows if f"`{name}`" in folders} == found != set()
