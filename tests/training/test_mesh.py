"""More than one device, more than one process: the same run as on one."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import small_run
from checkpoints import refused

from bpjax import distributed
from bpjax.report.write import read_report
from bpjax.training.mesh import make_layout
from bpjax.training.scalars import read_scalars
from bpjax.workdir import load_arrays


def require_same(found, whole):
    """Curves and models within what the order of sums in float32 changes."""
    rows = read_scalars(found)
    expected = [row for row in read_scalars(whole) if row["stage"] != "teacher"]
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        assert (row["stage"], row["step"]) == (other["stage"], other["step"])
        for name in row.keys() - {"stage"}:
            tolerance = dict(rel=2e-3, abs=2e-4) if name != "gradient_norm" else dict(rel=2e-2)
            assert row[name] == pytest.approx(other[name], **tolerance), (row, other)
    report, wanted = read_report(found), read_report(whole)
    for name in ("density", "heads_kept", "ffn_kept"):
        assert report[name] == wanted[name]
    ours, theirs = (load_arrays(x / "prune" / "masks.safetensors") for x in (found, whole))
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])


def two_processes(config, workdir, *options, **end):
    """Of two devices each; the second process gets the signal. What they end with, in turn."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = ["--distributed", f"--coordinator=localhost:{port}", "--processes=2", *options]
    started = [
        small_run.start(
            config, workdir, *arguments, f"--process={i}", devices=2, **(end if i else {})
        )
        for i in range(2)
    ]
    return [(process.communicate(timeout=300)[1], process.returncode) for process in started]


def test_any_devices_learn_what_one_does(finished_run, tmp_path):
    """SIGTERM to one process: both end after the same step, and go on with another mesh."""
    config, whole, _ = finished_run
    workdir = tmp_path / "run"
    teacher = f"--config.teacher.source={whole / 'teacher' / 'model'}"
    divided = [teacher, "--config.mesh.fsdp=2"]
    for stderr, code in two_processes(config, workdir, *divided, end_by=signal.SIGTERM, at=6):
        assert code == distributed.RESUME, stderr[-3000:]
        assert re.search(r"bpjax: prune step \d+: saved; the same command goes on", stderr)
    assert read_scalars(workdir)[-1]["step"] >= 6
    assert not (workdir / "prune" / "done.json").exists()

    for stderr, code in two_processes(config, workdir, teacher):
        assert code == 0, stderr[-3000:]
    require_same(workdir, whole)


@pytest.fixture(scope="module")
def found():
    script = pathlib.Path(__file__).with_name("eight_devices.py")
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (small_run.TESTS, small_run.TESTS.parent)))}
    text = subprocess.run(
        [sys.executable, script],
        env=small_run.environment(8) | paths,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(text)


def test_masks_add_nothing_between_devices_but_the_gradient_of_the_scores(found):
    # XLA sums many gradients at once, those of the scores among them.
    assert found["masked"] == found["plain"] and found["plain"].keys() == {"all-reduce"}


def test_divided_parameters_are_collected_and_else_nothing_is_moved(found):
    divided = dict(found["divided"])
    assert divided.pop("all-gather") > 0
    assert divided == found["plain"]


def test_top_k_over_divided_scores_is_that_of_the_whole(found):
    assert found["kept"]


def test_what_fsdp_does_not_divide_is_whole_and_named(found):
    assert found["undivided"] == ["layer_0/ffn/out/kernel", "layer_1/ffn/out/kernel"]
    assert found["pieces"] == {"layer_0/ffn/in/kernel": 2, "layer_1/ffn/out/kernel": 1}


def test_a_batch_that_the_devices_do_not_divide_is_refused(found):
    assert found["refused"].startswith("config.batch.size is 9: expected a multiple of 8")


@pytest.mark.parametrize(("data", "fsdp"), [(2, 1), (1, 2), (-1, 3)])
def test_a_mesh_of_other_devices_than_there_are_is_refused(data, fsdp):
    with refused(f"config.mesh is data={data}, fsdp={fsdp}: expected a product of 1, the devices"):
        make_layout(data, fsdp)


@pytest.mark.parametrize("address", ["localhost", "localhost:x", ":80"])
def test_an_address_without_host_or_port_is_refused(address):
    with refused(f"--coordinator={address}: expected HOST:PORT"):
        distributed.join(address, 2, 1, 1)


def test_a_coordinator_that_is_not_there_is_named():
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("localhost", 0))
        address = f"localhost:{taken.getsockname()[1]}"
        with refused(f"--coordinator={address}: .*expected process 0 there within 1 seconds"):
            distributed.join(address, 2, 1, 1)


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (2, 2), (-6, distributed.RESUME)])
def test_a_child_that_jax_aborts_is_explained(monkeypatch, capsys, ended, code):
    seen = []

    class Child:
        def __init__(self, command, env):
            seen.append((command[-2:], env))

        def wait(self):
            return ended

    monkeypatch.delenv("BPJAX_WORKER", raising=False)
    monkeypatch.setattr(distributed.subprocess, "Popen", Child)
    monkeypatch.setattr(distributed.signal, "signal", lambda *_: None)
    assert distributed.supervise(["run", "--distributed"]) == code
    ((command, env),) = seen
    assert command == ["run", "--distributed"]
    assert ("SIGABRT" in capsys.readouterr().err) == (ended < 0)
    monkeypatch.setenv("BPJAX_WORKER", env["BPJAX_WORKER"])  # the child runs the program itself
    assert distributed.supervise(["run", "--distributed"]) is None
