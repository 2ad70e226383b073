"""Methods behind one contract: movement's scores and penalty, magnitude's ranking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PATTERNS, make_params, pattern_of

from bpjax.pruning.methods import METHODS, make_method
from bpjax.pruning.methods.base import MethodState
from bpjax.pruning.methods.dense import dense
from bpjax.pruning.methods.fisher import PATTERNS as BY_UNITS
from bpjax.pruning.patterns import apply_masks, build_mask_collection
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.structure import at, put

RNG = jax.random.key(0)


EVERYWHERE = [name for name in METHODS if name != "cofi"]  # which serves its own pattern


def scheduled(threshold=0.1, penalty=1.0, density=0.5, progress=1.0):
    return ScheduleValues(*map(jnp.float32, (threshold, penalty, density, progress)))


def start(name, pattern, **options):
    params = make_params()
    method = make_method(name, pattern, **options)
    return method, method.init(RNG, params), params


@pytest.mark.parametrize(
    ("method", "pattern", "block"),
    [(m, *p) for m in EVERYWHERE for p in PATTERNS if m != "fisher" or p[0] in BY_UNITS],
)
def test_masks_are_of_the_scores_shape(method, pattern, block):
    pattern = pattern_of(pattern, block)
    method, state, params = start(method, pattern)
    assert not any(x.weak_type for x in jax.tree.leaves(state))  # or the step is compiled twice
    values = jax.jit(method.masks)(state, params, scheduled(), None)
    assert {name: x.shape for name, x in values.items()} == {
        g.name: g.shape for g in pattern.groups
    }
    assert all(((x >= 0) & (x <= 1)).all() for x in values.values())


@pytest.mark.parametrize("method", [*EVERYWHERE, "dense"])
def test_schedule_values_are_traced_and_update_keeps_what_it_gets(method):
    pattern = pattern_of("hybrid", (4, 3))
    cuts = method == "group_lasso"  # and says so in its own tests
    method = dense() if method == "dense" else make_method(method, pattern)
    params = make_params()
    state = method.init(RNG, params)
    # Wrapped, because methods share functions and jit counts for all that share one.
    masks, penalty = (jax.jit(functools.partial(x)) for x in (method.masks, method.penalty))
    for i in range(1, 4):
        masks(state, params, scheduled(i / 4, i, i / 4), RNG)
        assert penalty(state, params, scheduled(i / 4, i, i / 4)).shape == ()
    assert masks._cache_size() == penalty._cache_size() == 1
    assert cuts or method.update(state, params, scheduled(), 0) == (state, params)


def test_movement_starts_at_zero_and_dies_below_the_threshold():
    pattern = pattern_of("block", (4, 3))
    method, state, params = start("movement", pattern)
    assert all(not x.any() for x in jax.tree.leaves(state.learned))
    assert all(x.all() for x in method.masks(state, params, scheduled(0.1), RNG).values())
    for score, alive in ((-2.1972, True), (-2.1973, False)):  # where σ(S) crosses 0.1
        moved = state._replace(learned=jax.tree.map(lambda x, s=score: x + s, state.learned))
        values = method.masks(moved, params, scheduled(0.1), RNG).values()
        assert all(bool(x.all()) == bool(x.any()) == alive for x in values)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"binarizer": "sigmoid_threshold"}, [1, 1, 0, 0, 1]),
        ({"binarizer": "threshold"}, [0, 1, 0, 0, 1]),
        ({"binarizer": "top_k"}, [1, 1, 0, 0, 1]),
        ({"binarizer": "threshold", "floor": 0.8}, [1, 1, 1, 0, 1]),
    ],
)
def test_movement_binarizers(options, kept):
    method, state, params = start("movement", pattern_of("struct", (1, 1)), **options)
    scores = {**state.learned, "layer_0/ffn": jnp.array([0.0, 3.0, -1.0, -2.0, 0.9])}
    # σ(0) = 0.5 is above 0.45, 0 itself is not; 0.6 of five scores are three.
    values = method.masks(MethodState(scores, ()), params, scheduled(0.45, density=0.6), None)
    np.testing.assert_array_equal(values["layer_0/ffn"], kept)


@pytest.mark.parametrize(("pattern", "block"), PATTERNS)
def test_the_penalty_is_one_half_at_zero(pattern, block):
    method, state, params = start("movement", pattern_of(pattern, block))
    assert float(method.penalty(state, params, scheduled(penalty=1))) == 0.5
    assert float(method.penalty(state, params, scheduled(penalty=40))) == 20.0


def test_the_penalty_averages_arrays_then_kinds():
    pattern = pattern_of("hybrid", (4, 3))
    weights = {"attention_weight": 3, "ffn_weight": 0.5}
    method, state, params = start("movement", pattern, **weights)
    generator = np.random.default_rng(0)
    scores = {g.name: jnp.float32(generator.normal(size=g.shape)) for g in pattern.groups}
    state = MethodState(scores, ())
    means = {name: np.mean(1 / (1 + np.exp(-np.asarray(s)))) for name, s in scores.items()}
    attention = np.mean([m for name, m in means.items() if "attention" in name])
    ffn = np.mean([m for name, m in means.items() if "ffn" in name])
    expected = 7 * (3 * attention + 0.5 * ffn) / 2
    penalty = jax.jit(method.penalty)(state, params, scheduled(penalty=7))
    np.testing.assert_allclose(penalty, expected, rtol=1e-6)

    @jax.jit
    @jax.grad
    def gradient(scores):
        return method.penalty(MethodState(scores, ()), params, scheduled())

    assert all((x > 0).all() for x in gradient(scores).values())  # it pushes every score down


def test_one_kind_is_divided_by_one():
    pattern = pattern_of("hybrid", (4, 3))
    only = pattern._replace(groups=tuple(g for g in pattern.groups if g.kind == "ffn"))
    method, state, params = start("movement", only)
    assert float(method.penalty(state, params, scheduled())) == 0.5
    method, state, params = start("movement", pattern._replace(groups=()))
    assert float(method.penalty(state, params, scheduled())) == 0.0


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_magnitude_keeps_the_largest_mean_weights(name, block):
    pattern = pattern_of(name, block)
    method, state, params = start("magnitude", pattern)
    values = jax.jit(method.masks)(state, params, scheduled(density=0.5), None)
    for group in pattern.groups:
        parts = [[] for _ in range(int(np.prod(group.shape)))]
        for target in group.targets:
            kernel = np.abs(np.asarray(at(params, target.path)["kernel"]))
            rows, cols = target.block
            for i, (r, c) in enumerate(np.ndindex(*target.grid)):
                parts[i] += list(kernel[r * rows :, c * cols :][:rows, :cols].ravel())
        ranked = np.argsort([-np.mean(part) for part in parts], kind="stable")
        kept = np.flatnonzero(np.asarray(values[group.name]).ravel())
        assert set(kept) == set(ranked[: len(parts) // 2])


def test_magnitude_does_not_pull_on_its_weights():
    method, state, params = start("magnitude", pattern_of("struct", (1, 1)))

    def kept(params):
        return sum(x.sum() for x in method.masks(state, params, scheduled(), None).values())

    assert not any(x.any() for x in jax.tree.leaves(jax.jit(jax.grad(kept))(params)))


def test_magnitude_ranks_each_array_by_itself():
    method, state, params = start("magnitude", pattern_of("struct", (1, 1)))
    path = ("layer_0", "ffn", "in", "kernel")
    large = put(params, path, 100 * at(params, path))
    values = jax.jit(method.masks)(state, large, scheduled(density=0.5), None)
    assert [int(values[f"layer_{i}/ffn"].sum()) for i in range(2)] == [2, 1]


def test_what_magnitude_cuts_for_good_stays_dead():
    pattern = pattern_of("hybrid", (4, 3))
    method, state, params = start("magnitude", pattern, permanent=True)
    _, cut = jax.jit(method.update)(state, params, scheduled(density=0.5), 0)
    first = method.masks(state, params, scheduled(density=0.5), None)
    jax.tree.map(
        np.testing.assert_array_equal,
        cut,
        apply_masks(params, build_mask_collection(pattern, first)),
    )
    later = method.masks(state, cut, scheduled(density=0.25), None)
    assert all((later[name] <= first[name]).all() for name in first)


@pytest.mark.parametrize("method", ["movement", "magnitude", "activation"])
def test_two_of_four_falls_to_half_of_every_kernel(method):
    method, state, params = start(method, pattern_of("unstructured", (1, 1)), binarizer="n_m")
    masks = jax.jit(method.masks)
    # The cube of what remains is 1, 0.34, 0.064 and 0: of two that go, as many are left.
    for progress, kept in ((0.0, 4), (0.3, 3), (0.6, 2), (1.0, 2)):
        for name, values in masks(state, params, scheduled(progress=progress), None).items():
            rows = values.shape[0]
            expected = kept * (rows // 4) + min(kept, rows % 4)
            assert (values.sum(0) == expected).all(), (name, progress)
    assert not method.penalty(state, params, scheduled(penalty=20.0))  # it could only disturb


def test_two_of_four_keeps_the_largest_weights():
    method, state, params = start(
        "magnitude", pattern_of("unstructured", (1, 1)), binarizer="n_m", n_of_m=(1, 2)
    )
    values = np.asarray(method.masks(state, params, scheduled(), None)["layer_0/ffn/in"])
    kernel = np.abs(np.asarray(at(params, ("layer_0", "ffn", "in"))["kernel"]))
    even = len(kernel) // 2 * 2
    np.testing.assert_array_equal(
        values[:even:2], (kernel[:even:2] >= kernel[1:even:2]).astype(float)
    )
    np.testing.assert_array_equal(values[1:even:2], 1 - values[:even:2])


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("movements", {}, "method 'movements': expected one of movement, magnitude"),
        (
            "movement",
            {"binarizer": "topk"},
            "binarizer is 'topk': expected one of sigmoid_thresh",
        ),
        ("movement", {"floor": 1.5}, r"floor is 1\.5: expected a number at least 0 and at most 1"),
        ("movement", {"ffn_weight": -2.0}, "ffn_weight is -2.0: expected a number at least 0"),
        *(
            (name, {"n_of_m": given}, rf"n_of_m is \({given[0]}, 4\): .* \(n, m\), 1 <= n <= m")
            for name in ("movement", "magnitude")  # also where the binarizer does not read it
            for given in ((5, 4), (0, 4))
        ),
        ("movement", {"binarizer": "n_m"}, "expected a pattern of 1×1 blocks, such as unstruct"),
        ("activation", {"binarizer": "threshold"}, "is 'threshold': expected one of top_k, n_m"),
        ("l0", {"attention_weight": float("nan")}, "attention_weight is nan: expected a number"),
    ],
)
def test_refuses(name, options, match):
    with pytest.raises(ValueError, match=match):
        make_method(name, pattern_of("hybrid", (4, 3)), **options)
