"""Arithmetic of a forward pass: what removal ought to save, whatever the hardware makes of it."""

from bpjax.pruning.costs import linear_parameters
from bpjax.pruning.structure import Structure


def linear_flops(structure: Structure, batch: int, length: int) -> int:
    """Floating-point operations of the sublayers' kernels.

    A multiply and an add count as two.
    """
    return 2 * batch * length * sum(linear_parameters(structure).values())


def forward_flops(structure: Structure, batch: int, length: int) -> int:
    """Floating-point operations of the sublayers' matrix products.

    The kernels, and each head's `query · keyᵀ` and `weights · value`. Embeddings, norms,
    activations and the task head are left out: they are small and are not pruned.

    Args:
      structure: of the model.
      batch: rows.
      length: tokens in a row, padding included.
    """
    mixed = sum(sublayer.units * sublayer.mixes for sublayer in structure.sublayers)
    return linear_flops(structure, batch, length) + 2 * batch * length**2 * mixed


def theoretical_speedup(dense: Structure, pruned: Structure, batch: int, length: int) -> float:
    """How many times faster `pruned` were if time were proportional to `forward_flops`.

    Infinite when nothing is left of it.
    """
    left = forward_flops(pruned, batch, length)
    return forward_flops(dense, batch, length) / left if left else float("inf")
