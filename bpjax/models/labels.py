"""The head that a config.json of transformers names, and the names of its labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.spelling import spelled

CLASSIFIERS = {
    "single_label_classification": "classification",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}
"""The head of a classifier of rows, by its `problem_type`."""


WITHOUT_NAMES = (
    "none",
    "span",
    "embedding",
    *(head.name for head in HEADS.values() if head.vocabulary),
)
"""Heads whose outputs have no names in config.json."""


class SavedHead(NamedTuple):
    """What a config.json says of a model's head.

    Attributes:
      head: a key of `heads.HEADS`; None of a class that is not among ours.
      num_labels: how many labels it tells apart.
      labels: their names by number; () where the file has none but LABEL_0, LABEL_1, ….
      problem_type: as the file has it.
      embedding: of that head.
    """

    head: str | None
    num_labels: int
    labels: tuple[str, ...]
    problem_type: str | None
    embedding: Embedding | None = None


def read_head(data: Mapping[str, Any], classes: Mapping[str, str], where: str) -> SavedHead:
    """What the fields of a config.json say that are the same for all models of transformers.

    A file without `architectures` is that of a model without a head.

    Args:
      data: the decoded file.
      classes: of transformers, by head.
      where: the file's name, for messages.

    Raises:
      UserError: names that contradict each other, or a problem type that does not go with them.
    """
    architectures = data.get("architectures") or [classes["none"]]
    first = architectures[0] if isinstance(architectures, list) else architectures
    named = str(first).removeprefix("Bpjax")
    head = next((head for head, name in classes.items() if name == named), None)
    problem = data.get("problem_type")
    if problem not in (None, *CLASSIFIERS):
        raise UserError(
            f"{where}: problem_type is {problem!r}: expected one of {', '.join(CLASSIFIERS)}; "
            "correct the file"
        )
    if head is None or head in WITHOUT_NAMES:
        return SavedHead(head, 2, (), problem)
    number, labels = _read_labels(data, where)
    if named == classes.get("classification"):
        # As transformers does where it is not told.
        head = CLASSIFIERS[problem] if problem else "classification" if number > 1 else "regression"
    assert head
    if number != HEADS[head].outputs(number) or (head == "classification" and number == 1):
        raise UserError(
            f"{where}: problem_type is {problem!r} of {number} labels: expected "
            f"{'1 label' if head == 'regression' else '2 or more'}; correct the file"
        )
    return SavedHead(head, number, labels, problem)


def _read_labels(data: Mapping[str, Any], where: str) -> tuple[int, tuple[str, ...]]:
    """How many labels there are, and their names."""
    names, number = data.get("id2label"), data.get("num_labels")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise UserError(f"{where}: num_labels is {number!r}: expected a whole number; correct it")
    if names is None:
        return (2 if number is None else number), ()
    places = {str(i): i for i in range(len(names))} if isinstance(names, Mapping) else {}
    if not places or {str(key) for key in names} != places.keys():
        raise UserError(
            f"{where}: id2label is {repr(names)[:80]}: expected a name for each number from 0; "
            "correct the file"
        )
    if number not in (None, len(names)):
        raise UserError(
            f"{where}: num_labels is {number} and id2label has {len(names)} names: expected as "
            "many; correct the file"
        )
    by_number = {places[str(key)]: name for key, name in names.items()}
    labels = tuple(by_number[i] for i in range(len(names)))
    if not all(isinstance(name, str) for name in labels):
        raise UserError(
            f"{where}: id2label is {repr(names)[:80]}: expected names in quotes; correct the file"
        )
    back = data.get("label2id")
    for name, i in (back if isinstance(back, Mapping) else {}).items():
        # Names that id2label does not have are left from before somebody changed it.
        if name in labels and not (isinstance(i, int) and labels[i : i + 1] == (name,)):
            raise UserError(
                f"{where}: label2id has {name!r} as {i!r}, id2label as {labels.index(name)}: "
                "expected the same number; correct the file"
            )
    return len(labels), (() if labels == unnamed(len(labels)) else labels)


def unnamed(number: int) -> tuple[str, ...]:
    """What transformers calls labels that have no names."""
    return tuple(f"LABEL_{i}" for i in range(number))


def write_labels(
    head: str, num_labels: int, labels: Sequence[str], problem_type: str | None
) -> dict[str, Any]:
    """The fields that `read_head` reads, but for `architectures`."""
    data: dict[str, Any] = {}
    if head == "multi_label":  # which a file without the field does not mean
        problem_type = HEADS[head].problem_type
    if head not in WITHOUT_NAMES:
        names = tuple(labels) or unnamed(num_labels)
        data["id2label"] = {str(i): name for i, name in enumerate(names)}
        data["label2id"] = {name: i for i, name in enumerate(names)}
    return data | ({"problem_type": problem_type} if problem_type else {})


def match(wanted: Sequence[str], found: Sequence[str]) -> list[int] | None:
    """The place in `found` of each name in `wanted`, which may be spelled in another case.

    None where the two are not the same names, each once.
    """
    ours, theirs = ([spelled(name) for name in names] for names in (wanted, found))
    if sorted(ours) != sorted(theirs) or len(set(ours)) != len(ours):
        return None
    return [theirs.index(name) for name in ours]
