"""The sweeps of experiments/ are lists of valid configs; those of one task share one teacher."""

import pathlib
import subprocess
import sys

import pytest

from bpjax.config import read_sweep

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "experiments"
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
    assert "bpjax sweep " in path.read_text()


def print_tables(folder):
    command = [sys.executable, FOLDER / "paper_tables.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_papers_tables_hold_our_runs_where_there_are_some():
    done = print_tables(FOLDER.parent / "results")
    assert done.returncode == 0, done.stderr
    dense = [line.split() for line in done.stdout.splitlines() if line.startswith("BERT-base")]
    assert [row[2] for row in dense] == ["88.5", "84.6", "88.1", "92.7"]  # published
    assert [row[-1] for row in dense] == ["56.9", "1.00×", "91.2", "89.4"]


def test_the_papers_tables_need_runs(tmp_path):
    done = print_tables(tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path}: expected a finished run's folder" in done.stderr
