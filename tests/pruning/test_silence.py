"""Removal is exact for every rule of silence: grouped, gated and crossing, with and without biases.

Each sort of sublayer computes by a transcription of its definition, in double precision: masked as
the pattern masks it, or with weights set to zero by hand, and as surgery leaves it.
"""

import jax
import numpy as np
import pytest

from bpjax.pruning.costs import linear_cost, linear_parameters
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.structure import (
    GATED,
    VALUE,
    Kernel,
    Stream,
    Structure,
    Sublayer,
    blocks,
    channels,
    inner,
    read,
    shape,
)
from bpjax.pruning.surgery import shrink

SIZES = {"hidden": 6, "memory": 5}  # of the residual streams
TOKENS = {"hidden": 4, "memory": 7}


def attention(groups=(), memory="hidden", kind="attention"):
    """Heads of 2 channels whose keys and values may be shared by groups, or of another stream."""
    grouped, units = bool(groups), sum(groups) or 3
    query = Kernel("query", ("query",), 2)
    key, value = (Kernel(role, (role,), 2, grouped, memory) for role in ("key", "value"))
    output = Kernel("output", ("deep", "down", "output"), 2)
    return Sublayer(f"x/{kind}", kind, units, (query, key, value), output, VALUE, groups, mixes=4)


def ffn(gated):
    roles = ("gate", "up") if gated else ("in",)
    reads = tuple(Kernel(role, ("x", role)) for role in roles)
    silence = GATED if gated else inner(jax.nn.gelu)
    return Sublayer("x/ffn", "ffn", 5, reads, Kernel("out", ("x", "out")), silence)


KINDS = {
    "attention": attention(),
    "grouped": attention((3, 1, 2)),
    "cross": attention(memory="memory", kind="cross_attention"),
    "ffn": ffn(False),
    "gated": ffn(True),
}
BIASES = {"all": lambda role: True, "none": lambda role: False,
          "reads": lambda role: role not in ("output", "out")}  # fmt: skip


def structure_of(sublayer):
    streams = {name: Stream(size) for name, size in SIZES.items()}
    return Structure((sublayer,), streams)


def draw(sublayer, has_bias, generator):
    params = {}
    for kernel in sublayer.kernels:
        rows, columns = shape(structure_of(sublayer), sublayer, kernel)
        weights = {"kernel": generator.normal(size=(rows, columns))}
        if has_bias(kernel.role):
            weights["bias"] = generator.normal(size=columns)
        tree = params
        for name in kernel.path[:-1]:
            tree = tree.setdefault(name, {})
        tree[kernel.path[-1]] = weights
    return params


def run(sublayer, params, states):
    """What the sublayer adds to the hidden stream, by its definition."""
    write = params
    for name in sublayer.write.path:
        write = write.get(name, {})
    bias = write.get("bias", 0)
    if not sublayer.units:
        return np.zeros((TOKENS["hidden"], SIZES["hidden"])) + bias
    inside = {}
    for kernel in sublayer.reads:
        weights, offset = (0 if x is None else np.asarray(x) for x in read(params, kernel))
        by_block = (states[kernel.stream] @ weights + offset).reshape(
            len(states[kernel.stream]), -1, kernel.width
        )
        inside[kernel.role] = by_block[:, blocks(sublayer, kernel)]  # [tokens, units, width]
    if "in" in inside:
        mixed = np.asarray(jax.nn.gelu(inside["in"]))
    elif "gate" in inside:
        mixed = np.asarray(jax.nn.silu(inside["gate"])) * inside["up"]
    else:
        scores = np.einsum("tuw,muw->utm", inside["query"], inside["key"])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("utm,muw->tuw", weights, inside["value"])
    return mixed.reshape(len(mixed), -1) @ np.asarray(write["kernel"]) + bias


def check(sublayer, params, seed):
    """Shrinks and compares; returns what is left."""
    structure = structure_of(sublayer)
    small = shrink(params, structure)
    left = small.sizes.units[sublayer.name]
    groups = left if isinstance(left, tuple) else ()
    smaller = sublayer._replace(units=sum(groups) if groups else left or 0, groups=groups)
    if left == ():
        smaller = sublayer._replace(units=0, groups=())
    generator = np.random.default_rng(seed)
    states = {name: generator.normal(size=(TOKENS[name], size)) for name, size in SIZES.items()}
    wanted, found = run(sublayer, params, states), run(smaller, small.params, states)
    np.testing.assert_allclose(found, wanted, atol=1e-10, rtol=0)
    for kernel in smaller.kernels:
        columns = channels(smaller, kernel)
        assert read(small.params, kernel)[0].shape[kernel != smaller.write] == columns
    return small


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_block_set_to_zero(kind, biases):
    """Blocks of any kernel; the biases of some are set to zero as well."""
    sublayer, emptied, gained = KINDS[kind], 0, 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        params = draw(sublayer, BIASES[biases], generator)
        for kernel in sublayer.kernels:
            weights, offset = read(params, kernel)
            columns = weights.T if kernel == sublayer.write else weights
            for block in range(channels(sublayer, kernel) // kernel.width):
                where = slice(block * kernel.width, (block + 1) * kernel.width)
                if generator.random() < (0.9 if seed % 4 == 0 else 0.4):
                    columns[:, where] = 0
                    if offset is not None and kernel != sublayer.write and generator.random() < 0.5:
                        offset[where] = 0
        small = check(sublayer, params, seed)
        emptied += not len(small.units[sublayer.name])
        gained += bool(small.sizes.biases)
    assert 0 < emptied < 40
    # A constant behind a kernel that has no bias needs one; gates and values without leave none.
    assert bool(gained) == (biases == "reads" and kind != "gated")


@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["block", "hybrid", "struct", "unstructured"])
def test_any_mask(kind, biases, pattern):
    sublayer = KINDS[kind]
    structure = structure_of(sublayer)
    laid = make_pattern(pattern, structure, (3, 2))
    for seed in range(4):
        generator = np.random.default_rng(seed)
        params = jax.tree.map(jax.numpy.asarray, draw(sublayer, BIASES[biases], generator))
        density = (0.2, 0.5, 0.8, 0.0)[seed]
        values = {
            group.name: jax.numpy.asarray(generator.random(group.shape) < density, float)
            for group in laid.groups
        }
        masked = apply_masks(params, build_mask_collection(laid, values))
        small = check(sublayer, jax.tree.map(np.array, masked), seed)
        left = kept_units(structure, laid, values)
        np.testing.assert_array_equal(
            np.flatnonzero(left.units[sublayer.name]), small.units[sublayer.name]
        )
        # What a budget takes it to cost is what is left of it.
        fraction = float(linear_cost(structure).fraction(structure, left))
        counted = sum(read(small.params, k)[0].size for k in _left(sublayer, small).kernels)
        assert fraction == pytest.approx(counted / linear_parameters(structure)[sublayer.name])


def _left(sublayer, small):
    units = small.sizes.units[sublayer.name]
    groups = units if isinstance(units, tuple) else ()
    return sublayer._replace(units=len(small.units[sublayer.name]), groups=groups)


def test_an_emptied_sublayer_at_the_top_of_the_tree():
    """Its paths have one part: nothing beside it goes."""
    sublayer = attention()._replace(write=Kernel("output", ("output",), 2))
    params = draw(sublayer, BIASES["all"], np.random.default_rng(0)) | {"norm": {"scale": 1.0}}
    params["value"]["kernel"][:] = 0
    small = shrink(params, structure_of(sublayer))
    assert small.params.keys() == {"output", "norm"}
    assert small.params["output"].keys() == {"bias"}


def test_a_norm_of_its_own_goes_with_the_last_unit():
    sublayer = ffn(True)._replace(norm=("x", "norm"))
    params = draw(sublayer, BIASES["none"], np.random.default_rng(0))
    params["x"]["norm"] = {"scale": np.ones(6)}
    assert "norm" in shrink(params, structure_of(sublayer)).params["x"]
    params["x"]["out"]["kernel"][:] = 0
    assert shrink(params, structure_of(sublayer)).params == {"x": {}}
