"""The sweeps of experiments/ are lists of valid configs; those of one task share one teacher."""

import pathlib

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
