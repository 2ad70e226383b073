"""The hf folder of shrunken models in PyTorch, in the transformers installed and an old one."""

import os
import pathlib
import runpy
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import assert_same, model_of

from bpjax.exports.formats import export
from bpjax.exports.outputs import outputs_of
from bpjax.models import bert, checkpoint
from bpjax.models.bert.encoders import ENCODERS

SCRIPT = pathlib.Path(__file__).parent / "answer_in_torch.py"
OLD = "BPJAX_OLD_TRANSFORMERS"
"""The variable with the interpreter of an environment that has transformers 4.57 and torch."""
BATCH = {
    "input_ids": np.array([[2, 9, 17, 33, 3], [2, 8, 3, 1, 1]], np.int32),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32),
}
SIZES = {
    "ragged": {"heads": (2, 0, 4), "intermediate": (7, 20, 0)},
    "all_heads": {"heads": (4, 4), "intermediate": (7, 20)},
    "nothing": {"heads": (0, 0), "intermediate": (0, 0)},
    "narrow": {"heads": (2, 1), "intermediate": (7, 20), "hidden_size": 43, "pooler_size": 48},
    "affine": {"heads": (2, 1), "intermediate": (7, 20), "norm": "affine"},
}
CASES = [
    *((family, "classification", sizes) for family in ENCODERS for sizes in ("ragged", "narrow")),
    ("bert", "span", "all_heads"),
    ("roberta", "tokens", "all_heads"),
    ("distilbert", "none", "all_heads"),
    ("bert", "regression", "affine"),
    ("distilbert", "classification", "nothing"),
]


def interpreter(version):
    """Of an environment with that transformers, or a skip."""
    if version == "installed":
        pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
        return sys.executable
    if OLD not in os.environ:
        pytest.skip(
            f"needs {OLD}=INTERPRETER of an environment with transformers 4.57: see .ci/run"
        )
    return os.environ[OLD]


@pytest.fixture(scope="module", params=["installed", "old"])
def answers(request, tmp_path_factory):
    """By case: config, parameters, the exported folder and what PyTorch says of it."""
    python = interpreter(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    found = {}
    for case in CASES:
        family, head, sizes = case
        config, params = model_of(family, head, **SIZES[sizes])
        export("hf", config, params, folder, folder / "-".join(case))
        found[case] = config, params, folder / "-".join(case)
    np.savez(folder / "batch.npz", **BATCH)
    command = [python, SCRIPT, folder / "batch.npz", *(x[2] for x in found.values())]
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("4.57.") == (request.param == "old")
    return {case: (*x, np.load(f"{x[2]}.npz")) for case, x in found.items()}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_torch_answers_as_bpjax(answers, case):
    config, params, _, found = answers[case]
    batch = {name: jnp.asarray(value) for name, value in BATCH.items()}
    batch["token_type_ids"] = jnp.zeros_like(batch["input_ids"])
    expected = np.asarray(outputs_of(config, params, batch))
    real = BATCH["attention_mask"].astype(bool)
    for name, apart in (("eager", 1e-5), ("sdpa", 1e-5), ("again", 1e-5), ("half", 0.1)):
        if name == "sdpa" and case[0] == "electra" and name not in found:
            continue  # transformers 4 has none
        difference = np.abs(found[name] - expected)
        by_token = expected.shape[:2] == real.shape
        assert np.max(difference[real] if by_token else difference) <= apart, name


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_else_torch_users_do(answers, case):
    config, params, folder, found = answers[case]
    assert tuple(found["heads"].astype(int)) == config.heads
    assert found["states"] == config.num_layers + 1
    assert all(name.startswith("pooler") for name in found["still"])
    # What it saves again: bpjax reads it, and no other class of transformers fills it in.
    assert found["saved"].tolist() == [0, 0]
    assert found["plain"].item().startswith("ZeroDivisionError")
    assert pathlib.Path(f"{folder}-again", "modeling_bpjax.py").is_file()
    back, same = checkpoint.load_pretrained(f"{folder}-again", head="saved")
    assert back == config
    assert_same(same, params)
    # Another head is new, on the same layers.
    assert found["missing"].size and not any(".layer." in name for name in found["missing"])
    # New weights are drawn as transformers draws all of them.
    assert found["stds"].min() > 0.01 and found["stds"].max() < 0.03


def test_an_older_transformers_is_refused(monkeypatch):
    pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
    monkeypatch.setattr(pytest.importorskip("transformers"), "__version__", "4.56.2")
    said = "needs transformers 4.57 or newer, found 4.56.2: pip install --upgrade transformers"
    with pytest.raises(ImportError, match=said):
        runpy.run_path(str(bert.ARCHITECTURE.torch_code))
