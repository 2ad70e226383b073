"""Tiny models of embeddings, which our tests and sentence-transformers both load."""

import jax
from checkpoints import random_params
from small_run import SMALL, TOKENIZER

from bpjax import models
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.embedding import Embedding

TEXTS = [
    "the river runs to the sea",
    "A hill.",
    "the " * 40,
    "Paris is a city, and London too; is it?",
]

WAYS = {
    "mean": Embedding(("mean",), normalize=True, max_length=12),
    "cls": Embedding(("cls",), normalize=True, max_length=20),
    "max": Embedding(("max",), max_length=20, prompts=(("query", "the sea: "),)),
    "all": Embedding(
        ("cls", "max", "mean"), max_length=16, prompts=(("q", "sea "),), default_prompt="q"
    ),
    "reversed": Embedding(("mean", "cls"), normalize=True, similarity="dot"),
}


def embedder(family="bert", way="mean", heads=(2, 0, 4), intermediate=(7, 20, 0)):
    """A model and its parameters, of numbers that no two machines draw differently."""
    embedding = WAYS[way]
    config = SMALL.replace(
        hidden_size=48,
        head_dim=12,
        heads=heads,
        intermediate=intermediate,
        max_positions=24,
        model_type=family,
        type_vocab_size=ENCODERS[family].token_types,
        pad_token_id=0,
        head="embedding",
        embedding=embedding,
    )
    params = jax.tree.map(lambda x: 0.3 * x, random_params(config, 1))
    assert models.architecture(config).embedding(config) == embedding
    return config, params


__all__ = ["TEXTS", "TOKENIZER", "WAYS", "embedder"]
