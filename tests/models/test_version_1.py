"""What bpjax 0.1 saved: models load and answer as they did, and a stopped run goes on.

tests/data/version_1 was made with the code before sizes went by sublayer; its README says how.
"""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from bpjax.cli import main
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.training.evaluation import apply

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "version_1"
STEP = 1e-3  # of Adam, whatever the size of a gradient: one of nothing but rounding moves so far
MODELS = sorted(path.parent.name for path in DATA.glob("*/config.json"))


def answer(config, params):
    saved = np.load(DATA / "logits.npz")
    names = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types"}
    batch = {name: jnp.asarray(saved[key]) for name, key in names.items()}
    # A model that tells no segments apart answered the second as the first; it has no row for it.
    batch["token_type_ids"] *= config.type_vocab_size > 1
    outputs = apply(config, params, batch)
    return outputs.hidden if outputs.logits is None else outputs.logits


@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_it_did(name, tmp_path):
    config, params = load_pretrained(DATA / name, head="saved")
    expected = np.load(DATA / "logits.npz")[name]
    np.testing.assert_allclose(answer(config, params), expected, rtol=1e-6, atol=1e-6)
    # Saved in today's form, it is the same model.
    save_pretrained(tmp_path / "model", config, params)
    again, weights = load_pretrained(tmp_path / "model", head="saved")
    assert again == config
    jax.tree.map(np.testing.assert_array_equal, weights, params)


def test_there_are_models_of_all_kinds():
    assert len(MODELS) == 6


def test_a_run_stopped_in_fine_pruning_goes_on(tmp_path, monkeypatch):
    """Its end is that of the uninterrupted run, curve and masks and models.

    To the last bit on the machine that it was stopped on, which no name of a processor tells from
    others: one without its instructions adds in another order.
    """
    run = shutil.copytree(DATA / "run", tmp_path / "run")
    monkeypatch.chdir(run)
    with pytest.raises(SystemExit) as end:
        main(["run", "--config=config.py", "--workdir=stopped"])
    assert end.value.code == 0
    found, report = (
        json.loads((run / name / "report.json").read_text()) for name in ("stopped", "whole")
    )
    assert found.keys() >= report.keys()
    for name in ("density", "heads_kept", "ffn_kept"):
        assert found[name] == report[name]
    rows, expected = (
        [json.loads(line) for line in (run / name / "scalars.jsonl").read_text().splitlines()]
        for name in ("stopped", "whole")
    )
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for key in row.keys() - {"stage", "gradient_norm"}:
            assert row[key] == pytest.approx(wanted[key], rel=2e-3, abs=2e-4), (row, wanted)
    for name in ("masks", "scores", "params"):
        ours, theirs = (
            load_file(run / x / f"prune/{name}.safetensors") for x in ("stopped", "whole")
        )
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, atol=STEP, err_msg=key)
    ours, theirs = (
        load_pretrained(run / x / "fill" / "model", head="saved") for x in ("stopped", "whole")
    )
    assert ours[0] == theirs[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=STEP), ours[1], theirs[1])
