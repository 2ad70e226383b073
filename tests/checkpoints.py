"""Small checkpoints for tests, and ways to spoil them."""

import contextlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from bpjax import models
from bpjax.errors import UserError
from bpjax.models.bert import BertConfig
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.checkpoint import save_pretrained

DENSE = BertConfig(
    vocab_size=40,
    hidden_size=12,
    head_dim=4,
    heads=(3, 3),
    intermediate=(10, 10),
    max_positions=16,
    hidden_dropout=0.2,
    attention_dropout=0.3,
)
RAGGED = DENSE.replace(heads=(1, 0, 3, 0), intermediate=(0, 7, 10, 0))


def random_params(config, seed=0):
    """Parameters of which no two numbers are alike, so that no mix-up stays hidden."""
    generator = np.random.default_rng(seed)
    shapes = {
        path: tensor.shape for path, tensor in models.architecture(config).tensors(config).items()
    }
    flat = {k: jnp.asarray(generator.normal(size=s), jnp.float32) for k, s in shapes.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def model_of(family, head, **fields):
    """A small model of a family, whose outputs are neither near 0 nor large."""
    sizes = {"vocab_size": 99, "hidden_size": 48, "head_dim": 12, "max_positions": 16}
    config = BertConfig(
        **sizes | fields,
        model_type=family,
        type_vocab_size=ENCODERS[family].token_types,
        head=head,
        num_labels={"regression": 1, "span": 2, "none": 2}.get(head, 3),
    )
    noise = random_params(config, 1)
    drawn = models.init(config, jax.random.key(0))
    return config, jax.tree.map(lambda x, y: x + 0.1 * y, drawn, noise)


def saved(folder, config=DENSE, seed=0):
    params = random_params(config, seed)
    save_pretrained(folder, config, params)
    return params


def change_json(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(folder, change):
    """Passes the stored tensors, by name, through `change`."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def assert_same(left, right):
    left, right = (traverse_util.flatten_dict(tree, sep="/") for tree in (left, right))
    assert left.keys() == right.keys()
    for path, value in left.items():
        assert value.dtype == right[path].dtype == jnp.float32
        np.testing.assert_array_equal(value, right[path], err_msg=path)


@contextlib.contextmanager
def refused(match):
    with pytest.raises(UserError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
