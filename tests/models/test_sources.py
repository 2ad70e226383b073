"""Where models lie: what is no model's folder is told what it is, and which folder is one."""

import json
import shutil

import pytest
from checkpoints import refused, saved

from bpjax.models.checkpoint import load_pretrained
from bpjax.models.sources import find_folder, find_model
from bpjax.models.tokenizer import load_tokenizer

RUN = {"model": {"source": "x"}, "task": {"name": "embedded"}, "pruning": {}}


@pytest.fixture
def model(tmp_path):
    saved(tmp_path / "model")
    return tmp_path / "model"


def make_run(folder, model, stages=("teacher", "shrink", "fill")):
    """A run's folder, by its files: the prune stage has no model of its own."""
    for name in stages:
        shutil.copytree(model, folder / name / "model")
    (folder / "prune").mkdir(parents=True)
    (folder / "prune" / "params.safetensors").write_bytes(b"")
    (folder / "config.json").write_text(json.dumps(RUN))
    return folder


def refuse(path, folder, *named):
    """Both ways to a model, and that to a tokenizer, refuse the path and name the folders."""
    told = f"holds no model itself: expected a model's folder; name {' or '.join(map(str, named))}"
    for read in (find_folder, load_tokenizer, load_pretrained):
        with refused(f"{folder} {told}$"):
            read(path)


def test_a_runs_folder_is_told_its_last_model(tmp_path, model):
    run = make_run(tmp_path / "run", model)
    for path in (run, run / "config.json"):
        refuse(path, run, run / "fill" / "model", "one of 2 others")
    refuse(run / "prune", run / "prune", run / "fill" / "model", "one of 2 others")
    refuse(run / "fill", run / "fill", run / "fill" / "model")
    unfinished = make_run(tmp_path / "unfinished", model, ["teacher"])
    refuse(unfinished, unfinished, unfinished / "teacher" / "model")
    assert find_folder(run / "fill" / "model") == run / "fill" / "model"


def test_a_sweeps_folder_is_told_models_of_its_runs(tmp_path, model):
    for name in ("a", "b"):
        make_run(tmp_path / "sweep" / name, model, ["fill"])
    sweep = tmp_path / "sweep"
    refuse(sweep, sweep, sweep / "a" / "fill" / "model", sweep / "b" / "fill" / "model")


def test_a_trainers_folder_is_told_its_checkpoints(tmp_path, model):
    found = [shutil.copytree(model, tmp_path / "out" / f"checkpoint-{n}") for n in (1000, 500)]
    for path in (tmp_path / "out", found[0]):
        (path / "training_args.bin").write_bytes(b"")
    refuse(tmp_path / "out", tmp_path / "out", *found)
    load_pretrained(found[0])
    # With a tokenizer it is a folder of that, but not of a model.
    (tmp_path / "out" / "vocab.txt").write_text("a")
    assert find_folder(tmp_path / "out") == tmp_path / "out"
    with refused(f"name {found[0]} or {found[1]}"):
        load_pretrained(tmp_path / "out")


def test_a_part_of_a_model_is_none(tmp_path, model):
    part = shutil.copytree(model, tmp_path / "whole" / "2_Dense")
    (part / "config.json").write_text('{"in_features": 3}')
    with refused("whole: no model.safetensors; name a folder with config.json and model.safet"):
        find_model(tmp_path / "whole")


def test_a_file_is_told_its_folder(model):
    for name in ("model.safetensors", "config.json"):
        with refused(f"{model / name} is a file: expected a model's folder; name {model}$"):
            find_folder(model / name)


@pytest.mark.parametrize(("suffix", "name"), [("gguf", "GGUF"), ("onnx", "ONNX")])
def test_a_model_of_another_format_is_told_so(tmp_path, suffix, name):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"")
    for source in (path, tmp_path):
        with refused(f"{path} is a model in {name}: expected a folder with config.json and model"):
            find_folder(source)
    (tmp_path / "vocab.txt").write_text("a")  # as an export has it
    with refused(f"{path} is a model in {name}"):
        load_pretrained(tmp_path)
