"""The folder of a run: whose it is, which stages are finished, what is never lost."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import refused
from small_run import files_under

from bpjax import sweep
from bpjax.config import default_config, default_fields
from bpjax.errors import UserError
from bpjax.workdir import Workdir, earlier_run, is_taken, load_arrays, save_arrays

CONFIG = {"seed": 1, "pruning": {"block": (32, 32)}, "task": {"data_dir": None}}


def note(folder):
    (folder / "work").write_text("done")
    return {"seconds": 1.5}


def test_a_stage_runs_once(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        return {"metrics": {"f1": 50.0}, "kept": (1, 2)}

    for _ in range(2):  # in one process and, later, in another
        notes = Workdir(tmp_path / "run", CONFIG).stage("teacher", work)
        assert notes == {"metrics": {"f1": 50.0}, "kept": [1, 2]}
    assert calls == [tmp_path / "run" / "teacher"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 1


def test_an_interrupted_stage_keeps_its_checkpoints_until_it_is_done(tmp_path):
    workdir = Workdir(tmp_path, CONFIG)

    def fail(folder):
        (folder / "checkpoints").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workdir.stage("prune", fail)
    assert (tmp_path / "prune" / "checkpoints").is_dir()

    def finish(folder):
        assert (folder / "checkpoints").is_dir()
        return {}

    workdir.stage("prune", finish)
    assert not (tmp_path / "prune" / "checkpoints").exists()


def test_checkpoints_left_by_a_kill_after_the_end_go_with_the_next_start(tmp_path):
    Workdir(tmp_path, CONFIG).stage("prune", note)
    (tmp_path / "prune" / "checkpoints").mkdir()
    Workdir(tmp_path, CONFIG).stage("prune", lambda _: pytest.fail("ran again"))
    assert not (tmp_path / "prune" / "checkpoints").exists()


def test_a_folder_is_nobodys_before_the_first_stage(tmp_path):
    Workdir(tmp_path, CONFIG)
    assert not files_under(tmp_path)
    Workdir(tmp_path, CONFIG | {"seed": 2}).stage("teacher", note)


def test_a_run_that_its_first_stage_refuses_leaves_the_folder_nobodys(tmp_path):
    def refuse(folder):
        raise UserError("cannot be reached")

    with refused("cannot be reached"):
        Workdir(tmp_path, CONFIG).stage("budget", refuse)
    other = Workdir(tmp_path, CONFIG | {"seed": 2})
    other.stage("budget", note)
    with refused("cannot be reached"):  # but once a stage is done it stays somebody's
        other.stage("teacher", refuse)
    with refused("seed is 2 there and 1 now"):
        Workdir(tmp_path, CONFIG)


@pytest.mark.parametrize("spoil", ["missing", "unfinished", "truncated"])
def test_an_earlier_run_that_cannot_be_read(tmp_path, spoil):
    if spoil != "missing":
        Workdir(tmp_path, CONFIG).stage("prune", note)
    if spoil == "unfinished":
        (tmp_path / "prune" / "done.json").unlink()
    (tmp_path / "masks.safetensors").write_bytes(b"\x10")
    expected = f"config.prune.source is '{tmp_path}': expected the --workdir of a finished run"
    with refused(expected), earlier_run("prune.source", tmp_path, "a finished run"):
        load_arrays(tmp_path / "masks.safetensors")


def test_refuses_the_folder_of_another_config(tmp_path):
    Workdir(tmp_path, CONFIG).stage("teacher", note)
    before = files_under(tmp_path)
    other = CONFIG | {"pruning": {"block": (16, 32)}}
    with refused(r"made by another config: pruning.block is \[32, 32\] there and \[16, 32\] now"):
        Workdir(tmp_path, other)
    with refused("task.holdout is None there and 5 now; use the same config, or another --workdir"):
        Workdir(tmp_path, CONFIG | {"task": {"data_dir": None, "holdout": 5}})
    assert files_under(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_refuses_a_folder_with_a_foreign_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with refused("expected its config.json to be a run's; choose another --workdir"):
        Workdir(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == text


def test_refuses_a_folder_that_cannot_be_made_or_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with refused("expected a folder that can be written; choose another --workdir"):
            Workdir(place, CONFIG)
    assert (tmp_path / "file").read_text() == "mine"
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as on a read-only disk
    with refused("Permission denied: expected a folder that can be written"):
        Workdir(tmp_path, CONFIG)


def test_arrays_come_back_as_they_were(tmp_path):
    tree = {"layer_0/ffn": jnp.arange(3.0), "a": {"b": jnp.ones((2, 2)), "c": jnp.int32(4)}}
    save_arrays(tmp_path / "x.safetensors", tree)
    loaded = load_arrays(tmp_path / "x.safetensors")
    assert loaded.keys() == tree.keys() and loaded["a"].keys() == tree["a"].keys()
    np.testing.assert_array_equal(loaded["layer_0/ffn"], tree["layer_0/ffn"])
    np.testing.assert_array_equal(loaded["a"]["b"], tree["a"]["b"])
    assert loaded["a"]["c"].dtype == jnp.int32


def test_two_processes_never_run_in_one_folder(tmp_path):
    assert not is_taken(tmp_path / "run")
    one, other = Workdir(tmp_path / "run", CONFIG), Workdir(tmp_path / "run", CONFIG)
    with one.exclusive():
        assert is_taken(tmp_path / "run")
        with refused("another process is running it; wait for its end"), other.exclusive():
            pass
    assert not is_taken(tmp_path / "run")
    with other.exclusive():
        pass


def without(config, *names):
    """A copy that lacks some fields, given by flat names."""
    config = json.loads(json.dumps(config))
    for name in names:
        *sections, last = name.split(".")
        inner = config
        for section in sections:
            inner = inner[section]
        del inner[last]
    return config


LATER = ("shrink.round_to", "pruning.movement.floor", "distillation.layers", "log_every")


def test_a_field_that_an_old_folder_lacks_means_its_default(tmp_path):
    now, defaults = default_config().to_dict(), default_fields("embedded")
    Workdir(tmp_path, without(now, *LATER)).stage("teacher", note)
    again = Workdir(tmp_path, now, defaults=defaults)
    again.stage("teacher", lambda _: pytest.fail("ran again"))
    for name, value in (("shrink", {"round_to": 8}), ("seed", 18)):
        with refused("made by another config: " + name):
            Workdir(tmp_path, now | {name: value}, defaults=defaults)
    with refused("shrink.round_to is 1 there and 8 now; use the same config, or another"):
        Workdir(tmp_path, now | {"shrink": {"round_to": 8}}, defaults=defaults)


def test_an_earlier_run_has_todays_fields(tmp_path):
    now = default_config().to_dict()
    Workdir(tmp_path, without(now, *LATER)).stage("prune", note)
    with earlier_run("prune.source", tmp_path, "a finished run") as config:
        assert config == json.loads(json.dumps(now))


def test_a_finished_run_of_a_sweep_stays_finished(tmp_path, monkeypatch):
    now = default_config().to_dict()
    (tmp_path / "report.json").write_text("{}")
    old = {"config": without(now, *LATER)}
    monkeypatch.setattr(sweep, "read_report", lambda _: json.loads(json.dumps(old)))
    assert sweep._is_finished(tmp_path, now)
    assert not sweep._is_finished(tmp_path, now | {"seed": 18})
