"""Sweeps: every run of a file, one by its place, and none stopped by another's failure."""

import shutil

import pytest
import small_run

from bpjax.cli import main
from bpjax.config import read_sweep
from bpjax.errors import UserError

SWEEP = """
import runpy

def get_sweep(workdir):
    runs = []
    for name, source in (("broken", "no/such/model"), ("good", {source!r}), ("again", {source!r})):
        config = runpy.run_path({config!r})["get_config"]()
        config.model.source = source
        if name == "again":
            config.seed = 18
            config.teacher.source = str(workdir / "good" / "teacher" / "model")
        runs.append((name, config))
    return runs
"""


@pytest.fixture
def sweep(tmp_path, small_model):
    config = small_run.write_config(tmp_path / "config.py", small_model)
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP.format(source=str(small_model), config=str(config)))
    return path


@pytest.fixture
def call(capfd):
    """Runs the program, whose runs are programs of their own: its exit code, what all printed."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(x) for x in arguments])
        return end.value.code, *capfd.readouterr()

    return run


def test_one_failing_run_does_not_stop_the_rest(call, sweep, finished_run, tmp_path):
    workdir = tmp_path / "runs"
    shutil.copytree(finished_run[1], workdir / "good")  # by an earlier call
    code, _, stderr = call("sweep", sweep, f"--workdir={workdir}")
    assert code == 2
    lines = stderr.strip().splitlines()
    assert len(lines) == 2, stderr
    first, last = lines
    assert first.startswith("bpjax: model 'no/such/model'")
    assert "1 of 3 runs failed (broken)" in last
    assert not small_run.files_under(workdir / "broken")

    # One by its place; a finished run is not run again.
    before = small_run.files_under(workdir)
    code, printed, stderr = call("sweep", sweep, f"--workdir={workdir}", "--index=1")
    assert (code, stderr) == (0, "")
    assert "f1 [%]" in printed
    assert small_run.files_under(workdir) == before

    plot = tmp_path / "pareto.png"
    code, printed, stderr = call("report", workdir, f"--plot={plot}")
    assert (code, stderr) == (0, "")
    rows = printed.strip().splitlines()
    assert len(rows) == 3 and rows[2].startswith("18, 17  ") and "±" in rows[2]
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_overrides_are_of_every_run(sweep, tmp_path):
    configs = read_sweep(str(sweep), tmp_path / "runs", ["--config.seed=5"])
    assert {config.seed for config in configs.values()} == {5}
    assert configs["again"].teacher.source == str(tmp_path / "runs/good/teacher/model")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("[('a', c), ('a', c)]", "two runs are named 'a'; rename one"),
        ("[('a/b', c)]", "run 'a/b': expected a pair of a name"),
        ("[('..', c)]", "run '..': expected a pair of a name"),
        ("[c]", "expected a pair of a name"),
        ("[('a', 3)]", "run 'a' gives int, expected a ConfigDict"),
        ("[]", "gives no runs"),
        ("None", "gives no runs"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_refuses(tmp_path, pairs, message):
    path = tmp_path / "sweep.py"
    path.write_text(
        "from bpjax.config import default_config\n\ndef get_sweep(workdir):\n"
        f"    c = default_config()\n    return {pairs}\n"
    )
    with pytest.raises(UserError, match=message) as caught:
        read_sweep(str(path), tmp_path, [])
    assert "\n" not in str(caught.value)


def test_an_index_beyond_the_runs(call, sweep, tmp_path):
    code, _, stderr = call("sweep", sweep, f"--workdir={tmp_path / 'r'}", "--index=3")
    assert code == 2
    assert "--index=3: expected 0 to 2, the 3 runs" in stderr
