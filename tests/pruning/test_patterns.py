"""Patterns: which kernels are scored, in what blocks; gradients through a real model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    DOUBLE,
    PATTERNS,
    TINY,
    element_mask,
    linear,
    make_params,
    pattern_of,
    random_values,
    relative,
    run,
)

from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.pruning import masks
from bpjax.pruning.blocks import Block
from bpjax.pruning.patterns import PATTERNS as REGISTRY
from bpjax.pruning.patterns import (
    apply_masks,
    build_mask_collection,
    make_pattern,
    mean_over_blocks,
)
from bpjax.pruning.structure import at, put

BASE = BertConfig()
ONE_LAYER = DOUBLE.replace(heads=(2,), intermediate=(5,))

apply_quickly = jax.jit(apply_masks)


@jax.jit
@jax.grad
def gradient_of_dense(params, weights):
    return jnp.sum(weights * run(ONE_LAYER, params).logits)


def shapes(pattern):
    return [group.shape for group in pattern.groups]


def test_the_tests_cover_every_pattern():
    assert {name for name, _ in PATTERNS} | {"cofi"} == set(REGISTRY)


def test_hybrid_on_bert_base():
    pattern = pattern_of("hybrid", (32, 32), BASE)
    assert shapes(pattern).count((24, 24)) == 48
    assert shapes(pattern).count((3072,)) == 12
    assert sum(np.prod(shape) for shape in shapes(pattern)) == 64_512 == 48 * 24**2 + 12 * 3072


@pytest.mark.parametrize(
    ("name", "block", "scores"),
    [
        ("block", (32, 32), 12 * (4 * 24 * 24 + 2 * 24 * 96)),
        ("struct", (32, 32), 12 * (12 + 3072)),
        ("unstructured", (32, 32), linear(BASE)),
    ],
)
def test_counts_on_bert_base(name, block, scores):
    pattern = pattern_of(name, block, BASE)
    assert sum(np.prod(shape) for shape in shapes(pattern)) == scores


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_every_kernel_is_covered_once_in_its_shape(name, block):
    params = make_params()
    targets = [t for group in pattern_of(name, block).groups for t in group.targets]
    paths = [target.path for target in targets]
    layers = [
        (f"layer_{i}", part, kernel)
        for i in range(2)
        for part, kernel in [("attention", k) for k in ("query", "key", "value", "output")]
        + [("ffn", k) for k in ("in", "out")]
    ]
    assert sorted(paths) == sorted(layers)
    for target in targets:
        assert at(params, target.path)["kernel"].shape == target.kernel_shape


def test_the_output_kernels_use_the_transposed_block():
    blocks = {t.path[-1]: t.block for g in pattern_of("block", (4, 3)).groups for t in g.targets}
    into, out = Block(4, 3), Block(3, 4)
    assert blocks == {"query": into, "key": into, "value": into, "output": out,
                      "in": into, "out": out}  # fmt: skip


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_sublayers_that_are_gone_have_no_scores(name, block):
    pattern = pattern_of(name, block, TINY.replace(heads=(0, 1), intermediate=(5, 0)))
    assert {tuple(group.name.split("/")[:2]) for group in pattern.groups} == {
        ("layer_0", "ffn"),
        ("layer_1", "attention"),
    }
    assert {(g.kind, g.name.split("/")[1]) for g in pattern.groups} == {
        ("ffn", "ffn"),
        ("attention", "attention"),
    }


def test_struct_masks_whole_heads_and_dimensions():
    pattern = pattern_of("struct", (1, 1))
    values = {group.name: jnp.ones(group.shape) for group in pattern.groups}
    values["layer_0/attention"] = jnp.array([1.0, 0.0])
    values["layer_1/ffn"] = jnp.array([0.0, 1.0, 1.0])
    ones = jax.tree.map(jnp.ones_like, make_params())
    alive = apply_masks(ones, build_mask_collection(pattern, values))

    head = alive["layer_0"]["attention"]
    for part in ("query", "key", "value"):
        np.testing.assert_array_equal(head[part]["kernel"], [[1, 1, 0, 0]] * 6)
        np.testing.assert_array_equal(head[part]["bias"], [1, 1, 0, 0])
    np.testing.assert_array_equal(head["output"]["kernel"].T, [[1, 1, 0, 0]] * 6)
    np.testing.assert_array_equal(head["output"]["bias"], np.ones(6))

    ffn = alive["layer_1"]["ffn"]
    np.testing.assert_array_equal(ffn["in"]["kernel"], [[0, 1, 1]] * 6)
    np.testing.assert_array_equal(ffn["in"]["bias"], [0, 1, 1])
    np.testing.assert_array_equal(ffn["out"]["kernel"].T, [[0, 1, 1]] * 6)
    assert all(jax.tree.leaves(jax.tree.map(jnp.all, alive["layer_0"]["ffn"])))
    assert all(jax.tree.leaves(jax.tree.map(jnp.all, alive["embeddings"])))


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_masking_in_place_equals_masking_in_the_model(name, block):
    params, pattern = make_params(), pattern_of(name, block)
    before = jax.tree.map(np.array, params)
    collection = build_mask_collection(pattern, random_values(pattern))
    masked = apply_quickly(params, collection)
    for group in pattern.groups:
        for target in group.targets:
            mask = element_mask(random_values(pattern)[group.name], target)
            layer, result = at(params, target.path), at(masked, target.path)
            np.testing.assert_array_equal(result["kernel"], layer["kernel"] * mask)
            np.testing.assert_array_equal(result["bias"], layer["bias"] * mask.any(0))
    assert relative(run(TINY, params, collection).logits, run(TINY, masked).logits) < 1e-6
    assert relative(run(TINY, params).logits, run(TINY, masked).logits) > 1e-3
    jax.tree.map(np.testing.assert_array_equal, before, params)


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_gradients_are_the_analytic_block_sums(name, block):
    """∂L/∂S = Σ_block ∂L/∂W' · W, over all kernels that share S, and ∂L/∂W = ∂L/∂W' ⊙ M."""
    with jax.enable_x64(True):
        params, pattern = make_params(ONE_LAYER), pattern_of(name, block, ONE_LAYER)
        generator = np.random.default_rng(1)
        scores = {g.name: jnp.asarray(generator.normal(size=g.shape)) for g in pattern.groups}
        weights = jnp.asarray(generator.normal(size=(3, 3)))

        def mask_values(scores):
            return {name: masks.threshold(s, -0.7) for name, s in scores.items()}

        def masked_loss(scores, params):
            logits = run(
                ONE_LAYER, params, build_mask_collection(pattern, mask_values(scores))
            ).logits
            return jnp.sum(weights * logits)

        values = mask_values(scores)
        of_scores, of_params = jax.jit(jax.grad(masked_loss, argnums=(0, 1)))(scores, params)
        masked = apply_quickly(params, build_mask_collection(pattern, values))
        of_masked = gradient_of_dense(masked, weights)

        expected, nonzero = of_masked, 0
        for group in pattern.groups:
            total = np.zeros(group.shape)
            for target in group.targets:
                product = np.asarray(
                    at(of_masked, target.path)["kernel"] * at(params, target.path)["kernel"]
                )
                rows, cols = target.block
                sums = [
                    [product[i * rows : (i + 1) * rows, j * cols : (j + 1) * cols].sum()
                     for j in range(target.grid[1])]
                    for i in range(target.grid[0])
                ]  # fmt: skip
                total += np.array(sums).reshape(group.shape)
                mask = element_mask(values[group.name], target)
                layer = at(of_masked, target.path)
                layer = {"kernel": layer["kernel"] * mask, "bias": layer["bias"] * mask.any(0)}
                expected = put(expected, target.path, layer)
            assert of_scores[group.name].dtype == np.float64
            nonzero += bool(np.abs(total).max() > 1e-6)
            assert relative(of_scores[group.name], total) < 1e-10, group.name
        assert nonzero > len(pattern.groups) / 2, "gradients of zero would prove nothing"
        # The key's bias moves no logit: of its gradient there is rounding alone.
        key = ("layer_0", "attention", "key", "bias")
        assert np.abs(at(of_params, key)).max() < 1e-12
        of_params, expected = (put(tree, key, jnp.zeros(())) for tree in (of_params, expected))
        worst = jax.tree.map(relative, of_params, expected)
        assert max(jax.tree.leaves(worst)) < 1e-10, worst


def test_means_over_blocks_that_are_shared_or_ragged():
    params = make_params()
    pattern = pattern_of("hybrid", (4, 3))
    means = jax.jit(lambda params: mean_over_blocks(pattern, params, jnp.abs))(params)
    ffn, query = params["layer_0"]["ffn"], params["layer_0"]["attention"]["query"]["kernel"]
    both = np.concatenate([ffn["in"]["kernel"], ffn["out"]["kernel"].T])
    np.testing.assert_allclose(means["layer_0/ffn"], np.abs(both).mean(0), rtol=1e-5)
    corner = np.abs(np.asarray(query))[4:, 3:].mean()
    np.testing.assert_allclose(means["layer_0/attention/query"][1, 1], corner, rtol=1e-5)


def test_refuses_an_unknown_pattern():
    with pytest.raises(ValueError, match="pattern 'blocks': expected one of block, hybrid, struct"):
        pattern_of("blocks", (4, 4))


@pytest.mark.parametrize("block", [(0, 32), (32, -1)])
def test_refuses_a_bad_block(block):
    with pytest.raises(ValueError, match="expected two sizes of at least 1"):
        make_pattern("block", bert.describe(TINY), block)


def test_a_rule_fits_no_group_without_kernels():
    with pytest.raises(ValueError, match="expected it to fit a kernel"):
        make_pattern("cofi", bert.describe(TINY), (1, 1), (("*", 4, 4),))


def test_rules_give_some_kernels_other_blocks():
    rules = (("layer_0/*", 2, 1), ("*/out", 3, 6), ("layer_0/attention/key", 6, 2))
    pattern = make_pattern("block", bert.describe(TINY), (4, 5), rules)
    found = {group.name: tuple(group.targets[0].block) for group in pattern.groups}
    assert found["layer_0/attention/query"] == found["layer_0/attention/output"] == (2, 1)
    assert found["layer_0/attention/key"] == (6, 2)
    assert found["layer_0/ffn/out"] == found["layer_1/ffn/out"] == (3, 6)
    assert found["layer_1/attention/query"] == (4, 5)
    assert found["layer_1/attention/output"] == (5, 4)


@pytest.mark.parametrize(
    ("name", "rule", "match"),
    [
        (
            "hybrid",
            ("*/ffn/in", 2, 2),
            "rule '\\*/ffn/in': expected it to fit a kernel that hybrid",
        ),
        ("block", ("layer_9/*", 2, 2), "such as layer_0/attention/query"),
        ("block", ("*", 0, 2), "block \\(0, 2\\): expected two sizes"),
    ],
)
def test_refuses_a_rule(name, rule, match):
    with pytest.raises(ValueError, match=match):
        make_pattern(name, bert.describe(TINY), (4, 5), [rule])
