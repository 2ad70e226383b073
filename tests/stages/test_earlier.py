"""Other runs' folders: those older than a field are taken, those that pruned otherwise are not."""

import dataclasses
import json

import pytest
from checkpoints import refused

from bpjax.config import default_fields
from bpjax.config.sections import PruningSection
from bpjax.stages.earlier import fine_pruned

OURS = PruningSection(block=(16, 16))


@pytest.fixture
def earlier(tmp_path):
    """A run that pruned as OURS does, before its method had a floor and there was CoFi."""
    config = default_fields("embedded")
    config["pruning"]["block"] = [16, 16]
    del config["pruning"]["movement"]["floor"], config["pruning"]["cofi"], config["fill"]
    (tmp_path / "prune").mkdir()
    (tmp_path / "prune" / "done.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_an_older_run_can_be_cut_again(earlier):
    with fine_pruned(str(earlier), OURS) as folder:
        assert folder == earlier / "prune"


@pytest.mark.parametrize(
    "changes",
    [{"block": (8, 16)}, {"methods": {"movement": {"binarizer": "top_k"}}}, {"relu": True}],
)
def test_one_that_pruned_otherwise_cannot(earlier, changes):
    other = dataclasses.replace(OURS, **changes)
    saying = f"prune.source is '{earlier}': expected the --workdir of a run that fine-pruned"
    with refused(saying), fine_pruned(str(earlier), other):
        pass
