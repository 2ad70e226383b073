"""Arithmetic of a forward pass: what removal ought to save, whatever the hardware makes of it."""

from bpjax.models.config import BertConfig


def linear_flops(config: BertConfig, batch: int, length: int) -> int:
    """Floating-point operations of the encoder's linear layers: Q, K, V, O and feed-forward.

    A multiply and an add count as two.
    """
    return 2 * batch * length * config.linear_parameters()


def forward_flops(config: BertConfig, batch: int, length: int) -> int:
    """Floating-point operations of the encoder's matrix products.

    The linear layers, and each head's `query · keyᵀ` and `weights · value`. Embeddings, norms,
    activations and the task head are left out: they are small and are not pruned.

    Args:
      config: sizes of the model, by layer.
      batch: rows.
      length: tokens in a row, padding included.
    """
    attention = 4 * batch * length**2 * config.head_dim * sum(config.heads)
    return linear_flops(config, batch, length) + attention


def theoretical_speedup(dense: BertConfig, pruned: BertConfig, batch: int, length: int) -> float:
    """How many times faster `pruned` were if time were proportional to `forward_flops`.

    Infinite when nothing is left of the encoder.
    """
    left = forward_flops(pruned, batch, length)
    return forward_flops(dense, batch, length) / left if left else float("inf")
