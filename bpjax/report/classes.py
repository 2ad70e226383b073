"""What a model finds of each class: a row a class, models side by side."""

from collections.abc import Mapping

Classes = Mapping[str, Mapping[str, float | int | None]]
"""By class: precision, recall and F1 in percent, and support, how many there are."""

_TITLES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def class_rows(models: Mapping[str, Classes]) -> list[tuple[str, ...]]:
    """Titles, then a row a class: its name, support, and of each model precision, recall and F1.

    Args:
      models: by name, of the same task; one alone may be named "".
    """
    titles = [f"{model} {title} [%]".strip() for model in models for title in _TITLES.values()]
    rows: list[tuple[str, ...]] = [("class", "support", *titles)]
    for name, first in next(iter(models.values()), {}).items():
        found = [classes.get(name, {}).get(key) for classes in models.values() for key in _TITLES]
        numbers = ("–" if value is None else f"{value:.2f}" for value in found)
        rows.append((name, f"{first.get('support') or 0:,.0f}", *numbers))
    return rows
