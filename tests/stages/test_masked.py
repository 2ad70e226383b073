"""The folder that prune leaves: its model's config comes back, and older folders are read."""

import shutil

import numpy as np
import pytest

from bpjax.config import read_config, validate
from bpjax.models.bert import BertConfig
from bpjax.models.checkpoint import read_config as read_model_config
from bpjax.models.checkpoint import write_config
from bpjax.stages.inputs import prepare
from bpjax.stages.masked import MODEL, read_masked
from bpjax.training.approximations import NAMES, finished


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("names", [(), ("relu",), NAMES])
def test_a_models_config_comes_back(tmp_path, family, names):
    types = 0 if family == "distilbert" else 2
    for head, labels in (("span", 2), ("classification", 3), ("regression", 1)):
        config = BertConfig(model_type=family, type_vocab_size=types, head=head, num_labels=labels)
        config = finished(config, names)
        path = tmp_path / f"{head}.json"
        write_config(path, config)
        assert read_model_config(path) == config


def test_shrink_needs_no_source_but_of_an_older_folder(finished_run, tmp_path):
    path, workdir, _ = finished_run
    config = validate(read_config(str(path), []))
    inputs = prepare(config)
    masked = read_masked(inputs, config, workdir / "prune")
    assert not inputs.opened._found
    assert (masked.model.heads, masked.model.head) == ((2, 2), "span")

    old = shutil.copytree(workdir / "prune", tmp_path / "prune")
    (old / MODEL).unlink()
    again = read_masked(inputs, config, old)
    assert len(inputs.opened._found) == 1
    assert again.model == masked.model and again.removal == masked.removal
    (model, params), (other, same) = (x.removal.cut(*x[:3]) for x in (masked, again))
    assert model == other
    for name, value in params["head"].items():
        np.testing.assert_array_equal(value, same["head"][name])
