"""Removal is exact: every kind of dead head and dimension by itself, then any mask at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    DOUBLE,
    PATTERNS,
    TINY,
    kept,
    make_params,
    pattern_of,
    random_values,
    relative,
    run,
    shrunken,
)

from bpjax.models import bert
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.pruning.masks import n_m
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.structure import at, put
from bpjax.pruning.surgery import shrink

HEAD_1, DIMENSION_2 = np.s_[2:4], np.s_[2]  # of layer 0
QUERY, KEY, VALUE, OUTPUT = (
    ("layer_0", "attention", part) for part in ("query", "key", "value", "output")
)
IN, OUT = ("layer_0", "ffn", "in"), ("layer_0", "ffn", "out")


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def zero(params, path, name, *where):
    """Sets part of one array to zero; `where` as in `array[where]`."""
    full = (*path, name)
    return put(params, full, at(params, full).at[where].set(0))


def shrink_tiny(params, config=DOUBLE, **options):
    small = shrink(params, bert.describe(config), **options)
    return small, shrunken(config, small)


def check_exact(params, heads, intermediate, **options):
    """Shrinks, compares sizes and outputs; returns the smaller parameters."""
    before = jax.tree.map(np.array, params)
    small, config = shrink_tiny(params, **options)
    assert (kept(small, "attention"), kept(small, "ffn")) == (heads, intermediate)
    assert (config.heads, config.intermediate) == (heads, intermediate)
    wanted, found = run(DOUBLE, params), run(config, small.params)
    assert found.logits.dtype == np.float64
    assert relative(found.logits, wanted.logits) < 1e-10
    assert relative(found.hidden, wanted.hidden) < 1e-10
    jax.tree.map(np.testing.assert_array_equal, before, params)  # the input is left as it was
    return small.params


def changed_by_dropping_bias(params, path, where):
    """How much the logits move if the bias that a constant carries is lost, as in the reference."""
    return relative(
        run(DOUBLE, params).logits, run(DOUBLE, zero(params, path, "bias", where)).logits
    )


# One kind of dead channel at a time. The reference (code of Lagunas et al. 2021) also removes heads
# without query or key, drops the constants, and always keeps one head and one dimension.


def test_value_columns_and_bias_zero(double):
    params = zero(make_params(DOUBLE), VALUE, "kernel", slice(None), HEAD_1)
    params = zero(params, VALUE, "bias", HEAD_1)
    small = check_exact(params, (1, 1), (5, 3))
    np.testing.assert_array_equal(at(small, OUTPUT)["bias"], at(params, OUTPUT)["bias"])


def test_output_rows_zero(double):
    params = zero(make_params(DOUBLE), OUTPUT, "kernel", HEAD_1)
    small = check_exact(params, (1, 1), (5, 3))
    kept = np.array([0, 1])
    np.testing.assert_array_equal(at(small, QUERY)["kernel"], at(params, QUERY)["kernel"][:, kept])
    np.testing.assert_array_equal(at(small, OUTPUT)["kernel"], at(params, OUTPUT)["kernel"][kept])


def test_value_columns_zero_but_not_their_bias(double):
    params = zero(make_params(DOUBLE), VALUE, "kernel", slice(None), HEAD_1)
    small = check_exact(params, (1, 1), (5, 3))
    constant = at(params, VALUE)["bias"][HEAD_1] @ at(params, OUTPUT)["kernel"][HEAD_1]
    folded = at(params, OUTPUT)["bias"] + constant
    np.testing.assert_allclose(at(small, OUTPUT)["bias"], folded, rtol=1e-12)
    assert changed_by_dropping_bias(params, VALUE, HEAD_1) > 1e-3


@pytest.mark.parametrize("parts", [[QUERY], [KEY], [QUERY, KEY]])
def test_query_or_key_zero_is_kept(double, parts):
    params = make_params(DOUBLE)
    for path in parts:
        params = zero(params, path, "kernel", slice(None), HEAD_1)
        params = zero(params, path, "bias", HEAD_1)
    check_exact(params, (2, 1), (5, 3))
    without = zero(params, OUTPUT, "kernel", HEAD_1)  # such a head still averages its values
    assert relative(run(DOUBLE, params).logits, run(DOUBLE, without).logits) > 1e-3


def test_out_row_zero(double):
    params = zero(make_params(DOUBLE), OUT, "kernel", DIMENSION_2)
    small = check_exact(params, (2, 1), (4, 3))
    np.testing.assert_array_equal(at(small, OUT)["bias"], at(params, OUT)["bias"])
    np.testing.assert_array_equal(
        at(small, IN)["kernel"], np.delete(at(params, IN)["kernel"], DIMENSION_2, axis=1)
    )


def test_in_column_and_bias_zero(double):
    params = zero(make_params(DOUBLE), IN, "kernel", slice(None), DIMENSION_2)
    params = zero(params, IN, "bias", DIMENSION_2)
    small = check_exact(params, (2, 1), (4, 3))
    np.testing.assert_array_equal(at(small, OUT)["bias"], at(params, OUT)["bias"])


def test_in_column_zero_but_not_its_bias(double):
    params = zero(make_params(DOUBLE), IN, "kernel", slice(None), DIMENSION_2)
    small = check_exact(params, (2, 1), (4, 3))
    constant = (
        ACTIVATIONS["gelu"](at(params, IN)["bias"])[DIMENSION_2]
        * at(params, OUT)["kernel"][DIMENSION_2]
    )
    folded = at(params, OUT)["bias"] + constant
    np.testing.assert_allclose(at(small, OUT)["bias"], folded, rtol=1e-12)
    assert changed_by_dropping_bias(params, IN, DIMENSION_2) > 1e-4


@pytest.mark.parametrize(("path", "sublayer"), [(VALUE, "attention"), (OUTPUT, "attention"),
                                                (IN, "ffn"), (OUT, "ffn")])  # fmt: skip
def test_a_sublayer_with_nothing_left_is_dropped(double, path, sublayer):
    params = zero(make_params(DOUBLE), path, "kernel", slice(None))
    heads, sizes = ((0, 1), (5, 3)) if sublayer == "attention" else ((2, 1), (0, 3))
    left = check_exact(params, heads, sizes)["layer_0"][sublayer]
    output = "output" if sublayer == "attention" else "out"
    assert {name: set(part) for name, part in left.items()} == {
        output: {"bias"},
        "norm": {"scale", "bias"},
    }


def test_a_model_with_no_sublayer_left(double):
    params = make_params(DOUBLE)
    for i in range(2):
        params = zero(params, (f"layer_{i}", "attention", "value"), "kernel", slice(None))
        params = zero(params, (f"layer_{i}", "ffn", "in"), "kernel", slice(None))
    small = check_exact(params, (0, 0), (0, 0))
    config = DOUBLE.replace(heads=(0, 0), intermediate=(0, 0))
    again, _ = shrink_tiny(small, config)
    jax.tree.map(np.testing.assert_array_equal, again.params, small)


def test_nothing_to_remove_changes_nothing(double):
    params = make_params(DOUBLE)
    small = check_exact(params, (2, 1), (5, 3))
    jax.tree.map(np.testing.assert_array_equal, small, params)


def test_part_of_a_head_keeps_it(double):
    params = zero(make_params(DOUBLE), VALUE, "kernel", slice(None), 2)
    params = zero(params, OUTPUT, "kernel", 3)
    check_exact(params, (2, 1), (5, 3))


# Rounding to a multiple.


@pytest.mark.parametrize(
    ("round_to", "sizes"), [(1, (2, 3)), (2, (2, 3)), (3, (3, 3)), (4, (4, 3)), (8, (5, 3))]
)
def test_rounds_sizes_up_to_a_multiple(double, round_to, sizes):
    params = zero(make_params(DOUBLE), OUT, "kernel", np.array([0, 1, 4]))
    check_exact(params, (2, 1), sizes, round_to=round_to)


@pytest.mark.parametrize(("round_to", "sizes"), [(2, (2, 3)), (4, (4, 3))])
def test_rounding_keeps_constants_where_they_are(double, round_to, sizes):
    # Folding the bias of a dimension that then stays would count it twice.
    params = zero(make_params(DOUBLE), IN, "kernel", slice(None), np.array([0, 1, 2, 4]))
    check_exact(params, (2, 1), sizes, round_to=round_to)


def test_rounding_keeps_an_empty_sublayer_empty(double):
    params = zero(make_params(DOUBLE), OUT, "kernel", slice(None))
    check_exact(params, (2, 1), (0, 3), round_to=4)


def test_rounding_keeps_the_best_by_the_weights_before_masking(double):
    dense = make_params(DOUBLE)
    scale = jnp.array([1.0, 3.0, 1.0, 2.0, 1.0]) / jnp.linalg.norm(at(dense, OUT)["kernel"], axis=1)
    dense = put(dense, (*OUT, "kernel"), at(dense, OUT)["kernel"] * scale[:, None])
    kernel = at(dense, IN)["kernel"]
    dense = put(dense, (*IN, "kernel"), kernel / jnp.linalg.norm(kernel, axis=0))
    masked = zero(dense, OUT, "kernel", np.array([0, 1, 3, 4]))
    small, _ = shrink_tiny(masked, round_to=2, rank_by=dense)
    np.testing.assert_array_equal(small.units["layer_0/ffn"], [1, 2])
    small, _ = shrink_tiny(masked, round_to=3, rank_by=dense)
    np.testing.assert_array_equal(small.units["layer_0/ffn"], [1, 2, 3])


@pytest.mark.parametrize("round_to", [0, -8])
def test_refuses_a_bad_multiple(round_to):
    with pytest.raises(ValueError, match=f"round_to {round_to}: expected"):
        shrink_tiny(make_params(), TINY, round_to=round_to)


# Any mask of any pattern.


def keep_channels(params, config, small):
    """What is left of parameter-shaped arrays, by the indices that surgery reports."""
    for i in range(config.num_layers):
        heads = small.units[f"layer_{i}/attention"]
        channels = heads[:, None] * config.head_dim + np.arange(config.head_dim)
        for part, inputs, output, left in (
            ("attention", ("query", "key", "value"), "output", channels.ravel()),
            ("ffn", ("in",), "out", small.units[f"layer_{i}/ffn"]),
        ):
            sublayer = dict(params[f"layer_{i}"][part])
            for name in inputs:
                weights = sublayer.pop(name)
                if len(left):
                    sublayer[name] = {
                        "kernel": weights["kernel"][:, left],
                        "bias": weights["bias"][left],
                    }
            weights = sublayer[output]
            sublayer[output] = {"bias": weights["bias"]}
            if len(left):
                sublayer[output]["kernel"] = weights["kernel"][left]
            params = put(params, (f"layer_{i}", part), sublayer)
    return params


SINGLE_PRECISION = TINY.replace(intermediate=(3, 2))
DOUBLE_PRECISION = DOUBLE.replace(intermediate=(3, 2))

apply_quickly = jax.jit(apply_masks)


def check_equivalent(config, params, masks, tolerance, round_to):
    """Masked and shrunken models agree: states, logits and gradients of the surviving weights.

    Returns the smaller model's config.
    """
    masked = apply_quickly(params, masks) if masks else params
    small = shrink(masked, bert.describe(config), round_to=round_to, rank_by=params)
    smaller = shrunken(config, small)
    weights = np.random.default_rng(0).normal(size=(3, 5, config.hidden_size)).astype(config.dtype)

    def loss(params, config, masks):
        # That the model masks in just this way is a test of patterns.
        outputs = run(config, apply_quickly(params, masks) if masks else params)
        return jnp.sum(weights * outputs.hidden) + outputs.logits.sum(), outputs

    # Operation by operation: to compile a program for each size that is left takes longer.
    gradient = jax.grad(loss, has_aux=True)
    wanted_gradient, wanted = gradient(params, config, masks)
    found_gradient, found = gradient(small.params, smaller, {})
    assert relative(found.hidden, wanted.hidden) < tolerance
    assert relative(found.logits, wanted.logits) < tolerance

    # Weights inside surviving heads that are masked get no gradient in the masked model only.
    alive = apply_quickly(jax.tree.map(jnp.ones_like, params), masks)
    alive, wanted, found = (
        jax.tree.map(np.asarray, tree) for tree in (alive, wanted_gradient, found_gradient)
    )
    alive, wanted = (keep_channels(tree, config, small) for tree in (alive, wanted))
    differences = jax.tree.map(lambda w, f, kept: np.abs(w - f * kept).max(), wanted, found, alive)
    # In single precision a gradient is as exact as the largest that went into it.
    largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted))
    assert max(jax.tree.leaves(differences)) < tolerance * largest, differences
    return smaller


# Hypothesis begins with the first of each list.
drawn_masks = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1000),
        "density": st.sampled_from([0.3, 0.0, 0.1, 0.6, 0.9]),
        "dead": st.sets(
            st.sampled_from(["0/value", "0/output", "0/in", "1/value", "0/attention", "1/ffn"])
        ),
        "round_to": st.sampled_from([1, 1, 2]),
    }
)


def of_family(config, name):
    return config.replace(model_type=name, type_vocab_size=0 if name == "distilbert" else 2)


def random_model(config, pattern, *, seed, density, dead):
    """Parameters and masks; some score arrays are wholly pruned, to reach the rare cases."""
    params = make_params(config, seed)
    pattern = pattern_of(*pattern, config)
    values = random_values(pattern, seed, density)
    for name in dead:
        layer, part = name.split("/")
        for group in values:
            if group.startswith(f"layer_{layer}/") and group.endswith(f"/{part}"):
                values[group] = jnp.zeros_like(values[group])
    return params, build_mask_collection(pattern, values)


once = settings(derandomize=True, database=None, deadline=None)
# Surgery reads nothing that differs by family: they take turns over one pattern. Those that compute
# as RoBERTa does are left to it.
CASES = [("bert", pattern) for pattern in PATTERNS]
CASES += [(family, PATTERNS[1]) for family in ("roberta", "distilbert", "electra")]
every_case = pytest.mark.parametrize(
    ("family", "pattern"), CASES, ids=[f"{family}-{name}" for family, (name, _) in CASES]
)


@every_case
@settings(once, max_examples=8)
@given(drawn_masks)
def test_any_mask_in_double_precision(pattern, family, drawn):
    with jax.enable_x64(True):
        round_to, config = drawn.pop("round_to"), of_family(DOUBLE_PRECISION, family)
        check_equivalent(config, *random_model(config, pattern, **drawn), 1e-10, round_to)


@pytest.mark.parametrize("pattern", PATTERNS, ids=[name for name, _ in PATTERNS])
@settings(once, max_examples=3)
@given(drawn_masks)
def test_any_mask_in_single_precision(pattern, drawn):
    round_to, config = drawn.pop("round_to"), of_family(SINGLE_PRECISION, "bert")
    check_equivalent(config, *random_model(config, pattern, **drawn), 1e-5, round_to)


@every_case
@settings(once, max_examples=3)
@given(drawn_masks)
def test_any_zero_kernels_with_their_biases_kept(pattern, family, drawn):
    """Masks zero the biases that nothing feeds; other ways to prune leave constants behind."""
    with jax.enable_x64(True):
        round_to, config = drawn.pop("round_to"), of_family(DOUBLE_PRECISION, family)
        params, masks = random_model(config, pattern, **drawn)
        masked = apply_quickly(params, masks)
        params = jax.tree_util.tree_map_with_path(
            lambda path, whole, zeros: zeros if path[-1].key == "kernel" else whole, params, masked
        )
        check_equivalent(config, params, {}, 1e-10, round_to)


def test_two_of_four(double):
    """The two of every four are the same in layer 0's output kernels, so that a head dies."""
    pattern = pattern_of("unstructured", (1, 1), DOUBLE_PRECISION)
    generator = np.random.default_rng(0)
    scores = {group.name: generator.random(group.shape) for group in pattern.groups}
    for path in (OUTPUT, OUT):
        scores["/".join(path)][:2] += 1
    masks = build_mask_collection(
        pattern, {name: n_m(jnp.asarray(s), 2, 4) for name, s in scores.items()}
    )
    small = check_equivalent(DOUBLE_PRECISION, make_params(DOUBLE_PRECISION), masks, 1e-10, 1)
    assert (small.heads, small.intermediate) == ((1, 1), (2, 2))
