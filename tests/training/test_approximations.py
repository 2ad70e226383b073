"""GELU becomes ReLU and LayerNorm an affine map: by halves, in a step, and for good."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from test_step import OPTIMIZER, make_batch, make_step, prune
from test_surgery import check_equivalent
from tiny import DOUBLE, TINY, make_params, pattern_of, random_values, relative

from bpjax import models
from bpjax.config import read_config
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.layers.norm import LayerNorm
from bpjax.pipeline import run
from bpjax.pruning.patterns import build_mask_collection
from bpjax.training.approximations import NAMES, approximate, finish
from bpjax.training.evaluation import apply
from bpjax.training.state import init_state

BOTH = tuple(NAMES)
CHEAPER = {"activation": "relu", "norm": "affine"}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_relu(share):
    # A feed-forward layer is all that is left, and its norm is taken off again.
    config = TINY.replace(heads=(0,), intermediate=(5,), norm="affine")
    params, batch = make_params(config), make_batch(rows=3)
    taken = apply(
        config, params, batch, approximations=approximate(config, ("relu",), share, batch)
    ).hidden
    plain = apply(config, params, batch, activations=True).hidden_states["embeddings"]
    params = jax.tree.map(np.asarray, params)
    layer = params["layer_0"]

    def affine(x, norm):
        return x * norm["scale"] + norm["bias"]

    x = affine(plain + layer["attention"]["output"]["bias"], layer["attention"]["norm"])
    before = x @ layer["ffn"]["in"]["kernel"] + layer["ffn"]["in"]["bias"]
    gelu = before * (1 + erf(before / np.sqrt(2))) / 2
    inner = (1 - share) * gelu + share * np.maximum(before, 0)
    out = x + inner @ layer["ffn"]["out"]["kernel"] + layer["ffn"]["out"]["bias"]
    assert relative(taken, affine(out, layer["ffn"]["norm"])) < 1e-5


def test_a_share_of_the_affine_norm():
    # Means 2, 2, 8, variances 1, 0, 9; then padding.
    x = jnp.array([[1.0, 3.0], [2.0, 2.0], [5.0, 11.0], [99.0, 7.0]])
    real = jnp.array([[1, 1], [1, 0]])
    config = TINY.replace(norm_eps=1e-12)
    params = {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([1.0, 0.0])}

    def norm(share):
        return LayerNorm(config).apply(
            {"params": params, "approximations": {"share": share, "real": real}}, x
        )[:3]

    # All tokens alike: their average mean is 4 and their average variance 10/3.
    alike = (np.asarray(x)[:3] - 4) / np.sqrt(10 / 3) * [2, 3] + [1, 0]
    own = np.array([[-1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]]) * [2, 3] + [1, 0]
    np.testing.assert_allclose(norm(0.0), own, atol=1e-5)
    np.testing.assert_allclose(norm(1.0), alike, rtol=1e-5)
    np.testing.assert_allclose(norm(0.25), 0.75 * own + 0.25 * alike, atol=1e-5)


def test_the_finished_model_is_that_of_the_last_step():
    # On the rows that its norms were measured on; padding does not count.
    config = TINY.replace(hidden_size=16, head_dim=8)
    params, batch = make_params(config), make_batch(rows=6, padding=2)
    assert not batch["attention_mask"][:6].all()
    pattern = pattern_of("hybrid", (4, 4), config)
    masks = build_mask_collection(pattern, random_values(pattern))
    last = apply(config, params, batch, masks, approximations=approximate(config, BOTH, 1.0, batch))
    after, folded = finish(config, BOTH, params, masks, [batch])
    assert (after.activation, after.norm) == ("relu", "affine")
    expected = last.logits[:6]
    assert relative(apply(after, folded, batch, masks).logits[:6], expected) < 1e-5
    assert relative(apply(config, params, batch, masks).logits[:6], expected) > 0.01
    _, again = finish(config, BOTH, params, masks, [{k: x[:6] for k, x in batch.items()}])
    for name, x in again["embeddings"]["norm"].items():
        np.testing.assert_allclose(x, folded["embeddings"]["norm"][name], rtol=1e-4)


def test_relu_alone_changes_no_parameter():
    params = make_params()
    after, same = finish(TINY, ("relu",), params, {}, [])
    assert after == TINY.replace(activation="relu") and same is params


@pytest.mark.parametrize("changes", [{"activation": "relu"}, {"norm": "affine"}, CHEAPER])
@pytest.mark.parametrize("name", ["block", "hybrid"])
def test_removal_is_exact_for_them(name, changes):
    with jax.enable_x64(True):
        config = DOUBLE.replace(intermediate=(3, 2), **changes)
        pattern = pattern_of(name, (4, 3), config)
        for seed in range(4):
            masks = build_mask_collection(pattern, random_values(pattern, seed))
            check_equivalent(config, make_params(config, seed), masks, 1e-10, 1)


def test_a_step_starts_without_and_compiles_once():
    config = TINY.replace(hidden_dropout=0.0, attention_dropout=0.0, heads=(2,), intermediate=(5,))
    batch, losses = make_batch(), {}
    for names in ((), BOTH):
        pruning = prune()._replace(approximations=names)
        step = make_step(config, pruning, OPTIMIZER)
        state = init_state(make_params(config), pruning, OPTIMIZER, jax.random.key(0))
        losses[names] = []
        for _ in range(4):
            state, metrics = step(state, batch)
            losses[names].append(float(metrics["loss"]))
        assert step.compilations() == 1
    assert losses[()][0] == pytest.approx(losses[BOTH][0], rel=1e-6)
    assert losses[()][3] != pytest.approx(losses[BOTH][3], rel=1e-3)


@pytest.mark.parametrize("heads", [(2, 1), (3, 3)])
def test_saved_and_loaded(tmp_path, heads):
    config = TINY.replace(heads=heads, intermediate=(5, 5), **CHEAPER)
    params = models.init(config, jax.random.key(0))
    save_pretrained(tmp_path / "model", config, params)
    found, again = load_pretrained(tmp_path / "model", head="saved")
    assert (found.activation, found.norm) == ("relu", "affine")
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_a_run_ends_with_them_alone(finished_run, tmp_path):
    path, workdir, _ = finished_run
    teacher = f"--config.teacher.source={workdir / 'teacher' / 'model'}"
    options = [teacher, "--config.pruning.relu", "--config.pruning.affine_norm"]
    options += ["--config.fill.epochs=0"]
    config = read_config(str(path), options)
    report = run(config, tmp_path / "run", "command")
    assert report["equivalence"]["max_abs_diff"] <= 1e-4
    assert report["equivalence"]["predictions_changed"] == 0
    assert report["shrunken"] == {k: report["masked"][k] for k in report["shrunken"]}
    data = json.loads((tmp_path / "run" / "shrink" / "model" / "config.json").read_text())
    assert (data["hidden_act"], data["bpjax"]["changes"]["norm"]) == ("relu", "affine")
    # Cut again by another budget: what was approximated is not approximated once more.
    options += [f"--config.prune.source={tmp_path / 'run'}", "--config.budget.value=0.3"]
    again = run(read_config(str(path), options), tmp_path / "again", "command")
    assert again["density"] < report["density"]
    assert again["equivalence"]["predictions_changed"] == 0
