"""A BERT so small that tests can compare it with itself, in double precision too."""

import functools

import jax
import numpy as np

from bpjax import models
from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.pruning.costs import linear_parameters
from bpjax.pruning.patterns import make_pattern

TINY = BertConfig(
    vocab_size=20,
    hidden_size=6,
    head_dim=2,
    heads=(2, 1),
    intermediate=(5, 3),
    max_positions=8,
    hidden_dropout=0.2,
    attention_dropout=0.3,
    head="classification",
    num_labels=3,
)
DOUBLE = TINY.replace(dtype="float64")
# Name, block: none of these blocks divides the tiny kernels; struct and unstructured ignore it.
# CoFi's own method serves its pattern alone, and is tested apart.
PATTERNS = (("block", (4, 5)), ("hybrid", (5, 3)), ("struct", (1, 1)), ("unstructured", (1, 1)))


def make_batch():
    """Rows of 5, 3 and 1 tokens, padded to 5, of two segments."""
    generator = np.random.default_rng(0)
    ids = generator.integers(0, TINY.vocab_size, (3, 5)).astype(np.int32)
    mask = (np.arange(5) < np.array([[5], [3], [1]])).astype(np.int32)
    types = (np.arange(5) >= np.array([[3], [2], [5]])).astype(np.int32)
    return tuple(map(jax.numpy.asarray, (ids, mask, types)))


@functools.cache
def shapes_of(config):
    return jax.eval_shape(lambda: models.init(config, jax.random.key(0)))


def make_params(config=TINY, seed=0):
    """Parameters of which none is zero or one, in the config's type."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jax.numpy.asarray(0.5 * generator.normal(size=x.shape), config.dtype),
        shapes_of(config),
    )


def pattern_of(name, block, config=TINY):
    return make_pattern(name, bert.describe(config), block)


def random_values(pattern, seed=0, density=0.5):
    """Mask values for every group: each entry kept with probability `density`."""
    generator = np.random.default_rng(seed)
    return {
        group.name: jax.numpy.asarray(generator.random(group.shape) < density, "float32")
        for group in pattern.groups
    }


def linear(config):
    """Linear parameters of a model."""
    return sum(linear_parameters(models.describe(config)).values())


def kept(small, kind, of=len):
    """What surgery left of each sublayer of a kind: how many units, or their indices."""
    return tuple(of(x) for name, x in small.units.items() if name.endswith(f"/{kind}"))


def shrunken(config, small):
    return models.resize(config, small.sizes)


def run(config, params, masks=None, batch=None, **kwargs):
    variables = {"params": params, "masks": masks or {}}
    return bert.Bert(config).apply(variables, *(batch or make_batch()), **kwargs)


def relative(left, right):
    """Largest difference, against the largest value."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    assert left.shape == right.shape
    if not left.size:
        return 0.0
    return np.abs(left - right).max() / max(np.abs(left).max(), np.abs(right).max(), 1e-30)


def element_mask(values, target):
    """A kernel's mask by the definition: every weight looks up its block."""
    rows, cols = (np.arange(n) for n in target.kernel_shape)
    grid = np.asarray(values).reshape(target.grid)
    return grid[np.ix_(rows // target.block.rows, cols // target.block.cols)]
