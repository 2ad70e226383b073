"""Block pruning of pretrained transformers in JAX: smaller, measurably faster, dense models."""

__version__ = "0.1.0"
