"""An architecture that bpjax does not know, from its description alone: pruned, saved, exported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from tiny import relative
from toy import TOY, ToyConfig

from bpjax import models
from bpjax.exports.formats import export
from bpjax.exports.stablehlo import open_stablehlo
from bpjax.measure.flops import theoretical_speedup
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.heads import HEADS
from bpjax.pruning.budget import within_budget
from bpjax.pruning.costs import linear_cost, linear_parameters
from bpjax.pruning.fill import fill
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods import make_method
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.pruning.summary import by_layer, summarize
from bpjax.pruning.surgery import shrink
from bpjax.training.calibration import input_norms
from bpjax.training.evaluation import apply
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import make_train_step
from bpjax.training.terms import Teacher

CONFIG = ToyConfig()
DENSITIES = {"block": (0.5,), "hybrid": (0.3,), "struct": (0.5, 0.1), "unstructured": (0.1,)}
STEPS = 6


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Its one line in the registry."""
    monkeypatch.setitem(models.ARCHITECTURES, "toy", TOY)


def make_batch(seed=0):
    generator = np.random.default_rng(seed)
    mask = (np.arange(6) < [[6], [4], [2], [6]]).astype(np.int32)
    batch = {
        "input_ids": generator.integers(0, 20, (4, 6)).astype(np.int32) * mask,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
        "label": generator.integers(0, 3, 4).astype(np.int32),
        "weight": np.ones(4, np.float32),
    }
    return jax.tree.map(jnp.asarray, batch)


def draw(config, dtype="float32"):
    shapes = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda x: jnp.asarray(generator.normal(size=x.shape), dtype), shapes)


def test_description_tensors_and_module_agree():
    params = traverse_util.flatten_dict(draw(CONFIG), sep="/")
    table = TOY.tensors(CONFIG)
    assert {path: x.shape for path, x in params.items()} == {k: v.shape for k, v in table.items()}
    weights = sum(linear_parameters(models.describe(CONFIG)).values())
    assert weights == sum(x.size for path, x in params.items() if path.startswith("layer_"))
    assert TOY.read(TOY.write(CONFIG), "classification", 3, "config.json") == CONFIG


@pytest.mark.parametrize("pattern", ["block", "hybrid", "struct", "unstructured"])
def test_masked_and_shrunken_agree(pattern):
    with jax.enable_x64(True):
        config = CONFIG.replace(dtype="float64")
        structure, params = models.describe(config), draw(config, "float64")
        laid = make_pattern(pattern, structure, (4, 2))
        generator, sizes = np.random.default_rng(2), []
        for density in DENSITIES[pattern]:
            values = {
                group.name: jnp.asarray(generator.random(group.shape) < density, float)
                for group in laid.groups
            }
            masks = build_mask_collection(laid, values)
            small = shrink(apply_masks(params, masks), structure)
            smaller = models.resize(config, small.sizes)
            masked = apply(config, params, make_batch(), masks)
            found = apply(smaller, small.params, make_batch())
            assert relative(found.logits, masked.logits) < 1e-10
            sizes.append(smaller)
        assert len(sizes) < 2 or sizes[1] != config


def test_from_fine_pruning_to_a_file_that_runs_elsewhere(tmp_path):
    structure, params = models.describe(CONFIG), draw(CONFIG)
    pattern = make_pattern("hybrid", structure, (4, 2))

    def fraction(values):
        return linear_cost(structure).fraction(structure, kept_units(structure, pattern, values))

    method = within_budget(make_method("movement", pattern), fraction, 0.5, STEPS)
    schedule = cubic(steps=STEPS, warmup_steps=0, density=(1.0, 0.5), penalty=1.0)
    pruning = Pruning(method, pattern, schedule)
    optimizer = make_optimizer(
        steps=STEPS, warmup_steps=0, learning_rate=1e-2, score_learning_rate=0.1
    )
    teacher = Teacher(CONFIG, draw(CONFIG), terms=())
    step = make_train_step(
        Recipe(CONFIG, structure, HEADS["classification"], pruning, optimizer, teacher)
    )
    state = init_state(params, pruning, optimizer, jax.random.key(0))
    for i in range(STEPS):
        state, metrics = step(state, make_batch(i))
    assert np.isfinite(float(metrics["loss"])) and step.compilations() == 1

    values = method.masks(state.method, state.params, schedule(STEPS), None)
    masks = build_mask_collection(pattern, values)
    masked = apply_masks(state.params, masks)
    layers = by_layer(summarize(masked, structure))
    assert [len(layer.sublayers) for layer in layers] == [2, 2]
    small = shrink(masked, structure, rank_by=state.params)
    config = models.resize(CONFIG, small.sizes)
    left = sum(linear_parameters(models.describe(config)).values())
    assert left <= 0.5 * sum(linear_parameters(structure).values())
    assert theoretical_speedup(structure, models.describe(config), 8, 16) > 1
    before = apply(CONFIG, state.params, make_batch(), masks).logits
    assert relative(apply(config, small.params, make_batch()).logits, before) < 1e-5

    save_pretrained(tmp_path / "model", config, small.params)
    found, loaded = load_pretrained(tmp_path / "model", head="saved")
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, loaded, small.params)
    filled = fill(loaded, models.describe(found), jax.random.key(0))
    assert all((x != 0).all() for x in jax.tree.leaves(filled))

    export("stablehlo", found, loaded, tmp_path / "model", tmp_path / "exported")
    call = open_stablehlo(found, tmp_path / "exported")
    batch = {name: make_batch()[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    assert relative(call(batch), before) < 1e-5


def test_calibration_hears_every_kernel():
    batch = make_batch() | {"index": jnp.arange(4)}
    norms = input_norms(CONFIG, draw(CONFIG), [batch])
    assert norms.keys() == {"/".join(k.path) for _, k in models.describe(CONFIG).kernels()}
    assert norms["layer_0/key"].shape == (4,) and norms["layer_0/gate"].shape == (8,)
