"""Masked and shrunken BARTs compute the same: every sublayer, pattern and kind of model."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import PATTERNS, random_values, relative
from tiny_bart import KINDS, TINY, make_batch, make_params, run

from bpjax import models
from bpjax.models import bart
from bpjax.pruning.costs import linear_parameters
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.structure import at, put
from bpjax.pruning.surgery import shrink
from bpjax.training.calibration import input_norms

NAMES = [each.name for each in models.describe(TINY).sublayers]
apply_quickly = jax.jit(apply_masks)


def test_the_description_is_the_models():
    structure = models.describe(TINY)
    assert NAMES[:2] == ["encoder/layer_0/attention", "encoder/layer_0/ffn"]
    assert NAMES[4:7] == [f"decoder/layer_0/{x}" for x in ("attention", "cross_attention", "ffn")]
    kinds = {f"{stack}/{part}" for stack in ("encoder", "decoder") for part in ("attention", "ffn")}
    assert {each.kind for each in structure.sublayers} == {*kinds, "decoder/cross_attention"}
    weights = sum(
        x.size
        for path, x in jax.tree_util.tree_leaves_with_path(make_params())
        if path[-1].key == "kernel"
    )
    assert sum(linear_parameters(structure).values()) == weights
    met = {"/".join(k.path[-2:]): k.tokens for _, k in structure.kernels()}
    assert met["cross_attention/key"] == met["cross_attention/value"] == "attention_mask"
    assert met["cross_attention/query"] == "decoder_attention_mask"
    # The whole of BART-base, as the paper counts it.
    assert sum(linear_parameters(models.describe(bart.BartConfig())).values()) == 99_090_432


def shrunken(config, params, masks, streams=None, **options):
    masked = apply_quickly(params, masks) if masks else params
    structure = models.describe(config)
    small = shrink(masked, structure, rank_by=params, streams=streams, **options)
    smaller = models.resize(config, small.sizes)
    shapes = jax.eval_shape(lambda: models.init(smaller, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, small.params) == jax.tree.map(jnp.shape, shapes)
    return smaller, small


def check(config, params, masks, tolerance, **options):
    """The same states and logits; returns the smaller model's config and parameters."""
    smaller, small = shrunken(config, params, masks, **options)
    # Operation by operation: to compile a program for each size that is left takes longer.
    wanted, found = run(config, params, masks), run(smaller, small.params)
    assert relative(found.logits, wanted.logits) < tolerance
    assert relative(found.hidden, wanted.hidden) < tolerance
    return smaller, small.params


def test_gradients_of_what_both_have_are_the_same():
    with jax.enable_x64(True):
        config = TINY.replace(dtype="float64")
        params, masks = random_model(config, PATTERNS[1], seed=0, density=0.5, dead=NAMES[5:6])
        smaller, left = check(config, params, masks, 1e-10)
        assert smaller.decoder.cross[0] == 0

        def gradient(params, config, masks):
            def loss(params):
                return jnp.sum(jnp.sin(run(config, params, masks).logits))

            found = jax.jit(jax.grad(loss))(params)
            tables = [found["shared"], *(found[x]["positions"] for x in config.stacks)]
            return jax.tree.leaves((tables, found["decoder"]["layer_1"]["ffn"]["norm"]))

        wanted, found = gradient(params, config, masks), gradient(left, smaller, {})
        assert max(map(relative, found, wanted)) < 1e-10


once = settings(derandomize=True, database=None, deadline=None)
CASES = [("bart", pattern) for pattern in PATTERNS]
CASES += [(kind, PATTERNS[1]) for kind in KINDS if kind != "bart"]
every_case = pytest.mark.parametrize(
    ("kind", "pattern"), CASES, ids=[f"{kind}-{name}" for kind, (name, _) in CASES]
)
drawn_masks = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1000),
        "density": st.sampled_from([0.3, 0.0, 0.1, 0.6, 0.9]),
        "dead": st.sets(st.sampled_from(NAMES)),
        "round_to": st.sampled_from([1, 1, 2]),
    }
)


def random_model(config, pattern, *, seed, density, dead):
    """Parameters and masks; some sublayers are wholly pruned, to reach the rare cases."""
    params, structure = make_params(config, seed), models.describe(config)
    laid = make_pattern(pattern[0], structure, pattern[1])
    values = random_values(laid, seed, density)
    values = {
        name: jnp.zeros_like(x) if name.startswith(tuple(dead)) else x for name, x in values.items()
    }
    return params, build_mask_collection(laid, values)


@every_case
@settings(once, max_examples=6)
@given(drawn_masks)
def test_any_mask_in_double_precision(pattern, kind, drawn):
    with jax.enable_x64(True):
        round_to, config = drawn.pop("round_to"), KINDS[kind].replace(dtype="float64")
        check(config, *random_model(config, pattern, **drawn), 1e-10, round_to=round_to)


@every_case
@settings(once, max_examples=3)
@given(drawn_masks)
def test_any_zero_kernels_with_their_biases_kept(pattern, kind, drawn):
    """Masks zero the biases that nothing feeds; other ways to prune leave constants behind."""
    with jax.enable_x64(True):
        round_to, config = drawn.pop("round_to"), KINDS[kind].replace(dtype="float64")
        params, masks = random_model(config, pattern, **drawn)
        masked = apply_quickly(params, masks)
        params = jax.tree_util.tree_map_with_path(
            lambda path, whole, zeros: zeros if path[-1].key == "kernel" else whole, params, masked
        )
        check(config, params, {}, 1e-10, round_to=round_to)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_dimensions_go_together(kind):
    """Scores of the residual stream: of both stacks, the embeddings and the head at once."""
    with jax.enable_x64(True):
        config = KINDS[kind].replace(dtype="float64")
        structure, params = models.describe(config), make_params(config)
        pattern = make_pattern("cofi", structure, (1, 1))
        values = random_values(pattern, 4, 0.7)
        values["hidden"] = jnp.array([1.0, 0.0, 0.7, 1.0, 0.0, 1.3])
        masks = build_mask_collection(pattern, values)
        streams = kept_units(structure, pattern, values).streams
        smaller, small = shrunken(config, params, masks, streams)
        assert smaller.hidden_size == 4 and smaller.scaled_by == config.scaled_by
        wanted, found = run(config, params, masks), run(smaller, small.params)
        assert relative(found.logits, wanted.logits) < 1e-10


def test_constants_of_dead_values_stay():
    """A head of cross-attention without values adds its bias, whatever of the source is masked."""
    with jax.enable_x64(True):
        config = TINY.replace(dtype="float64")
        params = make_params(config)
        path = ("decoder", "layer_0", "cross_attention", "value")
        weights = at(params, path)
        kernel = weights["kernel"].at[:, :3].set(0)
        params = put(params, path, {"kernel": kernel, "bias": weights["bias"]})
        smaller, _ = check(config, params, {}, 1e-10)
        assert (smaller.decoder.cross, smaller.decoder.heads) == ((1, 1), TINY.decoder.heads)
        kernel = weights["kernel"].at[:, :].set(0)
        params = put(params, path, {"kernel": kernel, "bias": weights["bias"]})
        assert check(config, params, {}, 1e-10)[0].decoder.cross == (0, 1)


def test_calibration_hears_every_kernel():
    for config in KINDS.values():
        norms = input_norms(config, make_params(config), [make_batch() | {"index": jnp.arange(3)}])
        kernels = [kernel for _, kernel in models.describe(config).kernels()]
        assert norms.keys() == {"/".join(kernel.path) for kernel in kernels}
