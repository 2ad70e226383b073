"""BARTs so small that tests can compare them with themselves, in double precision too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bpjax import models
from bpjax.models import bart
from bpjax.models.bart import BartConfig, Stack

TINY = BartConfig(
    vocab_size=20,
    hidden_size=6,
    encoder=Stack((2, 1), (5, 3), (), 2),
    decoder=Stack((1, 2), (3, 4), (2, 1), 3),
    max_positions=9,
    dropout=0.2,
    attention_dropout=0.3,
    activation_dropout=0.1,
    num_labels=20,
)
KINDS = {
    "bart": TINY,
    "mbart": TINY.replace(model_type="mbart", scaled_by=6),
    "pegasus": TINY.replace(model_type="pegasus", scaled_by=6, activation="relu"),
    "marian": TINY.replace(model_type="marian", scaled_by=6, activation="swish"),
}
"""One of each `model_type`."""


def ragged(config):
    """Layers without some of their sublayers."""
    return config.replace(
        encoder=config.encoder.replace(heads=(0, 2, 0), ffn=(3, 0, 0)),
        decoder=config.decoder.replace(heads=(0, 1, 2), ffn=(3, 0, 2), cross=(1, 2, 0)),
    )


def make_batch(sources=(5, 3, 1), targets=(4, 1, 6), vocabulary=20):
    """Rows of so many tokens, padded."""
    generator = np.random.default_rng(0)

    def rows(lengths, fill):
        real = np.arange(max(lengths)) < np.array(lengths)[:, None]
        return np.where(real, generator.integers(3, vocabulary, real.shape), fill), real

    (ids, real), (label, written) = rows(sources, 1), rows(targets, -100)
    arrays = {
        "input_ids": ids,
        "attention_mask": real,
        "label": label,
        "decoder_attention_mask": written,
    }
    batch = {name: jnp.asarray(x.astype(np.int32)) for name, x in arrays.items()}
    return batch | {"weight": jnp.ones(len(sources), jnp.float32)}


@functools.cache
def shapes_of(config):
    return jax.eval_shape(lambda: models.init(config, jax.random.key(0)))


def make_params(config=TINY, seed=0):
    """Parameters of which none is zero or one, in the config's type."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(0.5 * generator.normal(size=x.shape), config.dtype),
        shapes_of(config),
    )


def make_writer(config):
    """A model of hidden size 12 and 40 words whose texts differ by what they are about."""
    settings = config.generation.replace(eos_token_id=(2, 20), no_repeat_ngram_size=1)
    config = config.replace(
        hidden_size=12,
        vocab_size=40,
        scaled_by=12 if config.scaled_by else 0,
        encoder=config.encoder.replace(head_dim=4),
        decoder=config.decoder.replace(head_dim=6),
        generation=settings,
    )

    def changed(path, x):
        return {"kernel": 2 * x, "scale": 1 + 0.4 * x, "bias": 0.2 * x}.get(path[-1].key, x)

    return config, jax.tree_util.tree_map_with_path(changed, make_params(config))


def run(config, params, masks=None, batch=None, **kwargs):
    batch = make_batch() if batch is None else batch
    given = {each.name: batch[each.name] for each in bart.inputs(config)}
    variables = {"params": params, "masks": masks or {}}
    return bart.Bart(config).apply(variables, **given, **kwargs)
