"""GLUE's official metrics (Wang et al. 2019, table 1), in percent."""

from collections.abc import Callable

import numpy as np
import scipy  # it and scikit-learn import their parts, which are slow to import, when they are used
import sklearn
from jaxtyping import Num

Values = Num[np.ndarray, " rows"]
Metrics = Callable[[Values, Values], dict[str, float]]
"""`(predicted, gold)` to metrics by name."""


def accuracy(predicted: Values, gold: Values) -> dict[str, float]:
    """Share of rows whose class is right."""
    return _percent(accuracy=sklearn.metrics.accuracy_score(gold, predicted))


def f1_and_accuracy(predicted: Values, gold: Values) -> dict[str, float]:
    """F1 of class 1, 0 where nothing is predicted right; and accuracy."""
    f1 = sklearn.metrics.f1_score(gold, predicted, zero_division=0.0)
    return _percent(f1=f1) | accuracy(predicted, gold)


def matthews(predicted: Values, gold: Values) -> dict[str, float]:
    """Matthews correlation, 0 where one class only is predicted; and accuracy."""
    correlation = sklearn.metrics.matthews_corrcoef(gold, predicted)
    return _percent(matthews=correlation) | accuracy(predicted, gold)


def correlations(predicted: Values, gold: Values) -> dict[str, float]:
    """Pearson's and Spearman's correlation, 0 where all predictions are equal."""
    if np.ptp(predicted) == 0 or np.ptp(gold) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return _percent(
        pearson=scipy.stats.pearsonr(predicted, gold).statistic,
        spearman=scipy.stats.spearmanr(predicted, gold).statistic,
    )


def _percent(**values: float) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in values.items()}
