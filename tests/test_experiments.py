"""The sweeps of experiments/ are lists of valid configs that read earlier runs' models only."""

import pathlib

import pytest

from bpjax.config import read_sweep

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "experiments"
SWEEPS = sorted(p for p in FOLDER.glob("*.py") if "get_sweep" in p.read_text())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_can_be_read(path, tmp_path):
    configs = list(read_sweep(str(path), tmp_path, []).items())
    assert len(configs) > 1
    for number, (_, config) in enumerate(configs):
        earlier = [tmp_path / name for name, _ in configs[:number]]
        for source, path_of in (
            (config.teacher.source, lambda run: run / "teacher" / "model"),
            (config.prune.source, lambda run: run),
        ):
            assert source in {"", *(str(path_of(run)) for run in earlier)}
    shared = [config for _, config in configs if config.teacher.source]
    caches = {config.distillation.cache for config in shared}
    assert caches <= {str(tmp_path / "teacher_logits")}
    assert "bpjax sweep " in path.read_text()
