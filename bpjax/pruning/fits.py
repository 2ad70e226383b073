"""How a kernel that lost inputs is fitted: least squares, from sums over calibration rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bpjax.pruning.structure import Sublayer

RIDGE = 0.01
"""Weight of the squared change of a kernel, over the mean square of its inputs."""


class Sums(NamedTuple):
    """What least squares want of one sublayer's write kernel, over the tokens that count.

    Attributes:
      gram: `Σ x xᵀ` of its inputs and a one, `[inputs, inputs]`.
      cross: `Σ x eᵀ`, of what the stream behind the sublayer lacks, `[inputs, size]`.
    """

    gram: Any
    cross: Any


Fit = Callable[[Sublayer, Sums, Float[np.ndarray, "inputs size"]], Float[np.ndarray, "inputs size"]]
"""`(sublayer, sums of what is kept, its kernel with the bias below) -> what to add to it`, the
change of least squares `Σ |xᵀ change − e|²`."""


def ridge(sublayer: Sublayer, sums: Sums, kernel: np.ndarray) -> np.ndarray:
    """Any change, held small: `(gram + γ I)⁻¹ cross`, γ a hundredth of the mean square input."""
    del sublayer, kernel
    penalty = RIDGE * np.trace(sums.gram) / len(sums.gram)
    return _solve(sums.gram, sums.cross, penalty)


def scales(sublayer: Sublayer, sums: Sums, kernel: np.ndarray) -> np.ndarray:
    """A factor for each unit (Kwon et al. 2022, section 4.3), held near 1; the bias stays."""
    width, inputs = sublayer.write.width, kernel[:-1]  # without the bias
    starts = np.arange(0, len(inputs), width)
    if not len(starts):
        return np.zeros_like(kernel)
    products = sums.gram[:-1, :-1] * (inputs @ inputs.T)
    by_unit = np.add.reduceat(np.add.reduceat(products, starts, axis=0), starts, axis=1)
    wanted = np.add.reduceat((sums.cross[:-1] * inputs).sum(1), starts)
    factors = _solve(by_unit, wanted, RIDGE * np.trace(by_unit) / len(by_unit))
    return np.append(np.repeat(factors, width)[:, None] * inputs, np.zeros_like(kernel[-1:]), 0)


def _solve(matrix: np.ndarray, right: np.ndarray, penalty: float) -> np.ndarray:
    regular = matrix + max(penalty, 1e-12) * np.eye(len(matrix))
    return np.linalg.solve(regular, right)


FITS: dict[str, Fit] = {"scales": scales, "ridge": ridge}
"""Ways to fit, by name."""
