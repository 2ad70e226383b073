"""Changes of a tiny checkpoint that people bring, and what bpjax makes of them.

The live comparison (`parity/test_config_fuzz.py`) draws such changes at random; the recorded sample
(`golden/config_changes.json`) holds what PyTorch answered to those that are listed here.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from checkpoints import random_params
from safetensors.numpy import load_file, save_file

from bpjax import models
from bpjax.errors import UserError
from bpjax.models.bert import BertConfig
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.heads import HEADS

IDS = np.array([[5, 6, 7, 8, 9, 4, 3, 11], [2, 8, 1, 3, 1, 1, 1, 1]], np.int32)
MASK = np.array([[1] * 8, [1] * 4 + [0] * 4], np.int32)


def base(folder, family, head):
    """A tiny checkpoint of numbers that no two machines draw differently."""
    encoder = ENCODERS[family]
    config = BertConfig(
        vocab_size=20,
        hidden_size=12,
        head_dim=4,
        heads=(3, 3),
        intermediate=(10, 10),
        max_positions=16,
        type_vocab_size=encoder.token_types,
        model_type=family,
        head=head,
        num_labels=HEADS[head].outputs(3),
        problem_type=HEADS[head].problem_type,
        embedding_size=5 if encoder.projects else None,
    )
    params = jax.tree.map(lambda x: 0.3 * x, random_params(config))
    save_pretrained(folder, config, params)
    return config


def change(folder, fields=None, drop=(), prefix="", shapes=None):
    """Changes a checkpoint's config.json and tensors in place."""
    path = folder / "config.json"
    data = json.loads(path.read_text()) | (fields or {})
    path.write_text(json.dumps({key: x for key, x in data.items() if key not in drop}))
    if prefix or shapes:
        tensors = load_file(folder / "model.safetensors")
        for name, shape in (shapes or {}).items():
            found = next(key for key in tensors if key.endswith(name))
            tensors[found] = np.resize(tensors[found], shape)
        save_file({prefix + k: x for k, x in tensors.items()}, folder / "model.safetensors")


def answer(folder):
    """What bpjax gives: the logits or the last states at real tokens, or the words of a refusal."""
    try:
        config, params = load_pretrained(folder)
        names = [each.name for each in models.inputs(config)]
        given = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": 0 * IDS}
        batch = {name: jnp.asarray(given[name]) for name in names}
        outputs = models.build(config).apply({"params": params}, **batch)
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return real(outputs.hidden if outputs.logits is None else outputs.logits)


def real(values):
    """Of values a token those of real ones; of values a row all."""
    values = np.asarray(values, np.float64)
    return values[MASK.astype(bool)] if values.ndim == 3 else values


def cases():
    """(name, family, head, changes), those that PyTorch answers too and those that are refused."""
    for family in ENCODERS:
        names = ENCODERS[family].fields
        yield f"{family} as it is", family, "classification", {}
        yield f"{family} pad 0", family, "tokens", {"fields": {"pad_token_id": 0}}
        yield f"{family} pad 4", family, "span", {"fields": {"pad_token_id": 4}}
        yield f"{family} eps", family, "regression", {"fields": {"layer_norm_eps": 0.1}}
        yield f"{family} relu", family, "none", {"fields": {names["activation"]: "relu"}}
        yield f"{family} silu", family, "none", {"fields": {names["activation"]: "silu"}}
        yield f"{family} tanh", family, "none", {"fields": {names["activation"]: "tanh"}}
        yield f"{family} heads", family, "multi_label", {"fields": {names["heads"]: 6}}
        yield f"{family} decoder", family, "none", {"fields": {"is_decoder": True}}
        yield f"{family} by layer", family, "none", {"fields": {"per_layer_config": {"0": {}}}}
        yield f"{family} embedding", family, "tokens", {"fields": {"embedding_size": 12}}
        yield f"{family} wrapped", family, "classification", {"prefix": "module."}
        yield f"{family} chunks", family, "tokens", {"fields": {"chunk_size_feed_forward": 2}}
        yield (
            f"{family} stray",
            family,
            "classification",
            {"fields": {"scale": 3, "dtype": "float32"}},
        )
