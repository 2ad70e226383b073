"""Exchanges kept and removed units of a sublayer, as many as before, by how they act together."""

import numpy as np
from jaxtyping import Bool, Float


def rearrange(
    gradients: Float[np.ndarray, "rows units"], kept: Bool[np.ndarray, " units"]
) -> Bool[np.ndarray, " units"]:
    """Lowers `Σ_rows (Σ_removed ∂L/∂m)²`, exchange by exchange (Kwon et al. 2022, section 4.2).

    That is the block of the Fisher matrix, where `allocate` reads the diagonal: units that do the
    same thing cost more together than apart. Each time the best pair is exchanged, until none helps
    or every unit could have been exchanged once.

    Args:
      gradients: of each row's loss by the gate of each unit.
      kept: which units are kept.

    Returns:
      The same number of units.
    """
    kept = np.array(kept)
    fisher = gradients.astype(np.float64).T @ gradients
    diagonal = np.diag(fisher)
    together = fisher[:, ~kept].sum(1)
    for _ in range(len(kept)):
        back, away = np.flatnonzero(~kept), np.flatnonzero(kept)
        if not len(back) or not len(away):
            break
        change = (diagonal - 2 * together)[back][:, None] + (diagonal + 2 * together)[away]
        change -= 2 * fisher[np.ix_(back, away)]
        i, j = np.unravel_index(np.argmin(change), change.shape)
        if change[i, j] >= -1e-12 * diagonal.sum():
            break
        kept[back[i]], kept[away[j]] = True, False
        together += fisher[:, away[j]] - fisher[:, back[i]]
    return kept
