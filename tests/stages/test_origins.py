"""A run goes on only over what it began with: rows, tokenizer and models, known by digests."""

import json
import shutil

import numpy as np
import pytest
from checkpoints import change_json, refused, rewrite
from small_run import files_under
from test_workdir import CONFIG, note

from bpjax import pipeline
from bpjax.config import default_config, read_config, validate
from bpjax.errors import UserError
from bpjax.stages.base import Inputs
from bpjax.stages.opened import Opened
from bpjax.stages.origins import origins
from bpjax.tasks import get_task
from bpjax.tasks.base import Features
from bpjax.tasks.columns import Column
from bpjax.tasks.spans import Example, Window
from bpjax.training.mesh import ONE_DEVICE
from bpjax.workdir import Origin, Workdir


def make_rows(tokens=((1, 2), (3,)), labels=(0, 1), answers=("a", "b"), offset=0):
    columns = {"input_ids": Column.ragged(tokens), "label": Column(np.array(labels, np.int32))}
    windows = [
        Window(Example("1", "a b", "q", (text,), (0,)), 1, np.array([[0, 1], [2, 3 + offset]]))
        for text in answers
    ]
    return Features(columns, windows)


@pytest.fixture
def find(tmp_path, small_model):
    """Digests by name, of rows and of a config whose folders hold models and a run."""
    folders = {name: tmp_path / name for name in ("model", "teacher", "distillation", "prune")}
    for name in ("model", "teacher", "distillation"):
        shutil.copytree(small_model, folders[name])
    (tmp_path / "prune" / "prune").mkdir(parents=True)
    (tmp_path / "prune" / "prune" / "params.safetensors").write_bytes(b"weights")
    config = default_config()
    config.pruning.method = "movement"  # which may cut what another run learnt
    config.model.source, config.teacher.source = str(folders["model"]), str(folders["teacher"])
    config.distillation.source = str(folders["distillation"])
    config.prune.source = str(folders["prune"])

    def find(train=make_rows(), evaluation=make_rows()):  # noqa: B008
        inputs = Inputs(get_task("embedded"), None, train, evaluation, ONE_DEVICE, Opened())
        return {each.name: each.digest for each in origins(inputs, validate(config))}

    return find


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_rows_are_known_by_all_that_is_read_of_them(find):
    before = find()
    assert find(make_rows(), make_rows()) == before
    for rows in (
        make_rows(tokens=((1,), (2, 3))),
        make_rows(tokens=((3,), (1, 2))),
        make_rows(labels=(1, 1)),
        make_rows().take([0]),
    ):
        assert changed(before, find(train=rows)) == {"training rows"}
        assert changed(before, find(evaluation=rows)) == {"evaluation rows"}
    # What the metric compares with: gold answers, and where tokens lie in the text.
    for rows in (make_rows(answers=("a", "c")), make_rows(offset=1)):
        assert changed(before, find(evaluation=rows)) == {"evaluation rows"}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda x: rewrite(x / "model", lambda t: {k: v + (v.ndim == 1) for k, v in t.items()}),
            "model.source",
        ),
        (lambda x: change_json(x / "teacher", hidden_act="relu"), "teacher.source"),
        (
            lambda x: shutil.copy(x / "model/vocab.txt", x / "distillation/model.safetensors"),
            "distillation.source",
        ),
        (lambda x: (x / "model/vocab.txt").write_text("[PAD]\n"), "tokenizer"),
        (lambda x: (x / "prune/prune/params.safetensors").write_bytes(b"others"), "prune.source"),
    ],
)
def test_models_and_runs_are_known_by_their_files(find, tmp_path, spoil, expected):
    before = find()
    spoil(tmp_path)
    assert changed(before, find()) == {expected}


def test_what_is_read_elsewhere_changes_nothing(find, tmp_path):
    before = find()
    (tmp_path / "model" / "README.md").write_text("a card")
    (tmp_path / "teacher" / "vocab.txt").write_text("of no use: its model is given ids")
    assert find() == before


ROWS = Origin("training rows", "1", "the training rows are not those")
MODEL = Origin("model.source", "2", "model.source is not the model")


def begin(path, *found, **config):
    workdir = Workdir(path, CONFIG | config)
    workdir.hold_to(found)
    return workdir


def test_a_run_is_held_to_what_it_began_with(tmp_path):
    begin(tmp_path, ROWS, MODEL)
    assert not files_under(tmp_path)  # nobody's before the first stage
    begin(tmp_path, ROWS, MODEL).stage("teacher", note)
    before = files_under(tmp_path)
    assert json.loads((tmp_path / "origins.json").read_text()) == {
        "training rows": "1",
        "model.source": "2",
    }
    told = "that this run began with; restore what was there, or choose another --workdir"
    for other in (ROWS, MODEL):
        with refused(f"{other.differs} {told}"):
            begin(tmp_path, *(x._replace(digest="3") if x is other else x for x in (ROWS, MODEL)))
    assert files_under(tmp_path) == before
    begin(tmp_path, ROWS, MODEL).stage("prune", note)


def test_a_folder_from_before_takes_what_is_there(tmp_path):
    begin(tmp_path, ROWS).stage("teacher", note)
    (tmp_path / "origins.json").unlink()
    begin(tmp_path, ROWS._replace(digest="3")).stage("prune", note)
    with refused("the training rows are not those"):
        begin(tmp_path, ROWS)
    # Nor is it held to what was not kept then.
    begin(tmp_path, ROWS._replace(digest="3"), MODEL)


def test_a_folder_that_is_nobodys_is_held_to_nothing(tmp_path):
    def refuse(folder):
        raise UserError("cannot be reached")

    with refused("cannot be reached"):
        begin(tmp_path, ROWS).stage("budget", refuse)
    assert not files_under(tmp_path)
    (tmp_path / "origins.json").write_text('{"training rows": "3"}')  # killed before config.json
    begin(tmp_path, ROWS).stage("budget", note)
    assert json.loads((tmp_path / "origins.json").read_text()) == {"training rows": "1"}
    (tmp_path / "origins.json").write_text("{")
    with refused("origins.json: expected the digests that bpjax wrote"):
        begin(tmp_path, ROWS)


def test_a_finished_run_is_refused_over_other_rows(finished_run, monkeypatch):
    config, workdir, _ = finished_run
    before, prepare = files_under(workdir), pipeline.prepare

    def fewer(config):
        inputs = prepare(config)
        return inputs._replace(train=inputs.train.take(range(1, len(inputs.train))))

    monkeypatch.setattr(pipeline, "prepare", fewer)
    with refused("the training rows of task embedded are not those that this run began with"):
        pipeline.run(read_config(str(config), []), workdir, "bpjax run")
    assert files_under(workdir) == before
