"""One-shot pruning by activations: norms by hand, a whole run without training a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_methods import scheduled, start
from tiny import TINY, make_batch, make_params, pattern_of

from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.pipeline import run
from bpjax.pruning.methods.base import MethodState
from bpjax.pruning.structure import at
from bpjax.training.calibration import input_norms
from bpjax.training.evaluation import apply
from bpjax.workdir import load_arrays


def draw_batch(weight=(1.0, 1.0, 0.0)):
    names = ("input_ids", "attention_mask", "token_type_ids")
    return dict(zip(names, make_batch(), strict=True)) | {"weight": jnp.array(weight)}


def test_the_score_is_the_weight_times_the_input():
    method, state, params = start("activation", pattern_of("unstructured", (1, 1)))
    alike = method.masks(state, params, scheduled(density=0.5), None)
    path = ("layer_0", "ffn", "in")
    norms = {name: jnp.arange(1.0, 1 + len(x)) ** 3 for name, x in state.fixed.items()}
    state = method.calibrate(state, norms | {"another/kernel": jnp.ones(3)})
    assert state == MethodState({}, norms)
    kernel = np.abs(np.asarray(at(params, path)["kernel"]))
    for scores, values in (
        (kernel, alike),
        (kernel * np.asarray(norms["layer_0/ffn/in"])[:, None], None),
    ):
        values = values or jax.jit(method.masks)(state, params, scheduled(density=0.5), None)
        kept = np.argsort(-scores.ravel(), kind="stable")[: scores.size // 2]
        assert set(np.flatnonzero(np.asarray(values["layer_0/ffn/in"]))) == set(kept)


def test_norms_are_of_what_each_kernel_reads():
    params = make_params()
    batch = draw_batch()
    found = input_norms(TINY, params, [batch])
    states = apply(TINY, params, batch, activations=True).hidden_states
    real = np.asarray(batch["attention_mask"]).astype(bool)[:2]  # the third row is padding

    def norm(x):
        return np.sqrt(np.mean(np.square(np.asarray(x)), axis=0))

    first = np.asarray(states["embeddings"])[:2][real]
    assert first.shape[0] == 8
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(found[f"layer_0/attention/{name}"], norm(first), rtol=1e-5)
    assert {name.rpartition("/")[0] for name in found} == {
        f"layer_{i}/{part}" for i in (0, 1) for part in ("attention", "ffn")
    }
    assert found["layer_0/ffn/out"].shape == (5,) and found["layer_1/attention/output"].shape == (
        2,
    )
    # Two batches are one: squares are summed before the root.
    parts = [draw_batch(weight) for weight in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))]
    both = input_norms(TINY, params, parts)
    for name, value in found.items():
        np.testing.assert_allclose(both[name], value, rtol=1e-5, err_msg=name)


def test_norms_within_the_feed_forward_layer():
    params, batch = make_params(TINY.replace(heads=(0, 0))), draw_batch((1.0, 1.0, 1.0))
    config = TINY.replace(heads=(0, 0))
    found = input_norms(config, params, [batch])
    layer = params["layer_0"]["ffn"]
    real = np.asarray(batch["attention_mask"]).astype(bool)
    outputs = apply(config, params, batch, activations=True)
    states = np.asarray(outputs.hidden_states["embeddings"])[real]
    # Without heads the sublayer adds its bias, and normalises.
    attention = params["layer_0"]["attention"]
    x = states + np.asarray(attention["output"]["bias"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config.norm_eps)
    x = x * np.asarray(attention["norm"]["scale"]) + np.asarray(attention["norm"]["bias"])
    np.testing.assert_allclose(found["layer_0/ffn/in"], np.sqrt((x**2).mean(0)), rtol=1e-4)
    inner = np.asarray(ACTIVATIONS["gelu"](x @ layer["in"]["kernel"] + layer["in"]["bias"]))
    np.testing.assert_allclose(found["layer_0/ffn/out"], np.sqrt((inner**2).mean(0)), rtol=1e-4)


ONE_SHOT = ("--config.pruning.method=activation", "--config.prune.epochs=0")


def test_a_run_cuts_the_dense_model(finished_run, tmp_path):
    path, workdir, _ = finished_run
    dense = workdir / "teacher" / "model"
    arguments = [*ONE_SHOT, "--config.fill.epochs=0", f"--config.teacher.source={dense}"]
    report = run(read_config(str(path), arguments), tmp_path / "run", "command")
    assert 0.4 < report["density"] <= 0.5
    assert report["equivalence"]["max_abs_diff"] < 1e-4
    theirs = load_file(dense / "model.safetensors")
    ours = load_arrays(tmp_path / "run" / "prune" / "params.safetensors")
    word = ours["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(word, theirs["bert.embeddings.word_embeddings.weight"])
    assert not (tmp_path / "run" / "prune" / "scores.safetensors").exists()

    # The masks are those of the measured inputs, and not of the weights alone.
    weights = ["--config.pruning.method=magnitude", "--config.prune.epochs=0", *arguments[2:]]
    run(read_config(str(path), weights), tmp_path / "weights", "command")
    kept, by_weight = (
        load_file(tmp_path / name / "prune" / "masks.safetensors") for name in ("run", "weights")
    )
    assert kept.keys() == by_weight.keys()
    assert any((kept[name] != by_weight[name]).any() for name in kept)


def test_fine_pruning_may_start_from_the_dense_model(finished_run, tmp_path):
    path, workdir, _ = finished_run
    dense = workdir / "teacher" / "model"
    arguments = ["--config.prune.start=dense", "--config.prune.learning_rate=1e-9"]
    arguments += ["--config.fill.epochs=0", f"--config.teacher.source={dense}"]
    run(read_config(str(path), arguments), tmp_path / "run", "command")
    ours = load_arrays(tmp_path / "run" / "prune" / "params.safetensors")
    theirs = load_file(dense / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_allclose(ours["embeddings"]["word"]["embedding"], theirs, atol=1e-6)


def test_it_cannot_be_trained(finished_run):
    with pytest.raises(UserError, match=r"prune\.epochs is 3: expected 0, for activation"):
        read_config(str(finished_run[0]), [ONE_SHOT[0]])
