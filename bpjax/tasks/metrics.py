"""Metrics in percent: those of GLUE (Wang et al. 2019, table 1), and of a user's own tables."""

from collections.abc import Callable, Sequence
from itertools import chain

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


def accuracy_and_f1(predicted: Values, gold: Values) -> dict[str, float]:
    """Accuracy, and F1 averaged over the classes there are (macro) and over rows (micro)."""
    return accuracy(predicted, gold) | _averages(predicted, gold, ("macro", "micro"))


def multi_label(
    predicted: Num[np.ndarray, "rows labels"], gold: Num[np.ndarray, "rows labels"]
) -> dict[str, float]:
    """F1 over all pairs of row and label (micro) and averaged over labels (macro); exact match.

    Args:
      predicted: 1 where a row has a label, else 0.
      gold: the same, as it is right.
    """
    exact = sklearn.metrics.accuracy_score(gold, predicted)
    return _averages(predicted, gold, ("micro", "macro")) | _percent(exact_match=exact)


def scores(predicted: Values, gold: Values) -> dict[str, float]:
    """Spearman's and Pearson's correlation in percent, and the mean squared error as it is."""
    found = correlations(predicted, gold)
    error = np.mean(np.square(np.asarray(predicted, np.float64) - gold))
    return {
        "spearman": found["spearman"],
        "pearson": found["pearson"],
        "squared_error": float(error),
    }


def by_class(
    predicted: Num[np.ndarray, "rows *labels"],
    gold: Num[np.ndarray, "rows *labels"],
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support, a number of rows, of each class.

    Args:
      predicted: numbers of classes, or 0 and 1 a label.
      gold: the same, as it is right.
      names: of the classes by number.
    """
    found = sklearn.metrics.precision_recall_fscore_support(
        gold, predicted, labels=range(len(names)), zero_division=0.0
    )
    return {
        name: _percent(precision=p, recall=r, f1=f) | {"support": float(n)}
        for name, p, r, f, n in zip(names, *found, strict=True)
    }


Tags = Sequence[Sequence[str]]
"""Of each sentence, a tag a word."""


def entities(predicted: Tags, gold: Tags) -> dict[str, float]:
    """F1, precision and recall of entities, whole and of the right kind, as conlleval counts them.

    Also the accuracy of words' tags.
    """
    from seqeval.metrics import sequence_labeling as seqeval

    precision, recall, f1, _ = seqeval.precision_recall_fscore_support(
        gold, predicted, average="micro", zero_division=0
    )
    found = _percent(f1=f1, precision=precision, recall=recall)
    return found | _percent(accuracy=seqeval.accuracy_score(gold, predicted))


def by_entity(predicted: Tags, gold: Tags) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support, a number of entities, of each kind of entity."""
    from seqeval.metrics import sequence_labeling as seqeval

    found = seqeval.classification_report(gold, predicted, output_dict=True, zero_division=0)
    return {
        kind: _percent(precision=x["precision"], recall=x["recall"], f1=x["f1-score"])
        | {"support": float(x["support"])}
        for kind, x in found.items()
        if not kind.endswith(" avg")
    }


def words(predicted: Tags, gold: Tags) -> dict[str, float]:
    """Accuracy of words' tags, and F1 averaged over the tags there are; an empty tag is none."""
    flat = [[*chain.from_iterable(tags)] for tags in (gold, predicted)]
    tags = sorted({*flat[0], *flat[1]} - {""})
    f1 = sklearn.metrics.f1_score(*flat, labels=tags, average="macro", zero_division=0.0)
    return _percent(accuracy=sklearn.metrics.accuracy_score(*flat), macro_f1=f1)


def _averages(
    predicted: Num[np.ndarray, "rows *labels"],
    gold: Num[np.ndarray, "rows *labels"],
    averages: Sequence[str],
) -> dict[str, float]:
    return _percent(
        **{
            f"{average}_f1": sklearn.metrics.f1_score(
                gold, predicted, average=average, zero_division=0.0
            )
            for average in averages
        }
    )


def _percent(**values: float) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in values.items()}
