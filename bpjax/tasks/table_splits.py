"""Which rows of a user's tables are trained on, and which are evaluated on."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from bpjax.errors import UserError
from bpjax.tasks.base import HOLDOUT_SEED
from bpjax.tasks.tables import TEXT, Table, shown

_log = logging.getLogger(__name__)

_BATCH = 1 << 14  # texts that are Python objects at a time


def hash_rows(table: Table, roles: Sequence[str]) -> np.ndarray:
    """A number of 64 bits for all that a row gives the model to read, other in each process."""
    texts = table.rows.select(roles)
    found = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _BATCH):
        part = texts.slice(start, _BATCH)
        cells = [
            column.to_pylist() if column.type == TEXT else map(tuple, column.to_pylist())
            for column in part.columns
        ]
        found[start : start + len(part)] = [*map(hash, zip(*cells, strict=True))]
    return found


def check_overlap(train: Table, evaluation: Table, roles: Sequence[str]) -> None:
    """Raises UserError where rows to evaluate on are trained on too."""
    known = np.isin(hash_rows(evaluation, roles), hash_rows(train, roles))
    if known.any():
        raise UserError(
            f"{evaluation.where(int(known.argmax()))}: this text is in {train.path} too, as are "
            f"those of {known.sum()} of {len(known)} rows: expected rows that were not trained on; "
            "remove them, or set task.allow_overlap to True"
        )


def tell_rare(path: str, labels: pa.Array, classes: Sequence[str]) -> None:
    """Warns of classes of one row, which can hardly be learnt."""
    counts = np.bincount(_pairs(labels)[1], minlength=len(classes)) if classes else np.zeros(0, int)
    once = [name for name, count in zip(classes, counts.tolist(), strict=True) if count == 1]
    if once:
        _log.warning("%s: labels of one row alone: %s", path, shown(once))


def split_off(
    table: Table, labels: pa.Array, classes: Sequence[str], roles: Sequence[str], fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Divides a table's rows, always in the same way, so that both parts have every class.

    Rows of one text stay together. A row of several labels, or tags, counts as one of its rarest.

    Args:
      table: the rows.
      labels: numbers of classes, or lists of them; scores, which are divided as they come.
      classes: names by number; () of scores.
      roles: the columns that make a row's text.
      fraction: of the texts, that are split off, of each class.

    Returns:
      Places of the rows that stay and of those split off.

    Raises:
      UserError: a class has one text alone.
    """
    texts, first = _number(hash_rows(table, roles))
    strata = np.zeros(len(first), np.int64)
    if classes:
        rows, numbers = _pairs(labels)
        counts = _check_twice(table, texts[rows], rows, numbers, classes)
        single = not pa.types.is_large_list(labels.type)
        strata = (numbers if single else _rarest(rows, numbers, counts, len(labels)))[first]
    elif len(first) < 2:
        raise UserError(f"{table.path}: one text alone: expected two or more; add some")
    rng = np.random.default_rng(HOLDOUT_SEED)
    chosen = np.zeros(len(first), bool)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[rng.permutation(members)[:count]] = True
    held = chosen[texts]
    kept = np.flatnonzero(~held)
    check_kept(table.path, labels.filter(pa.array(held)), labels.take(pa.array(kept)), classes)
    return kept, np.flatnonzero(held)


def _number(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rows by their texts, as these come, and the first row of each text."""
    order = np.argsort(hashes, kind="stable")
    begins = np.ones(len(order), bool)
    begins[1:] = np.diff(hashes[order]) != 0
    groups = np.cumsum(begins, dtype=np.int32) - 1  # of the rows in that order
    first = order[begins]
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    texts = np.empty(len(order), np.int32)
    texts[order] = rank[groups]
    return texts, np.sort(first)


def _pairs(labels: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A row and its label, for each label of each row."""
    if not pa.types.is_large_list(labels.type):
        return np.arange(len(labels)), labels.to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
    return rows, labels.flatten().to_numpy(zero_copy_only=False)


def _check_twice(
    table: Table,
    texts: np.ndarray,
    rows: np.ndarray,
    numbers: np.ndarray,
    classes: Sequence[str],
) -> np.ndarray:
    """How many texts each class has.

    Raises:
      UserError: one alone.
    """
    pairs = np.unique(texts.astype(np.int64) * len(classes) + numbers)
    counts = np.bincount(pairs % len(classes), minlength=len(classes))
    if (counts == 1).any():
        once = int(np.flatnonzero(counts == 1)[0])
        row = int(rows[numbers == once][0])
        raise UserError(
            f"{table.where(row)}: {classes[once][:80]!r} is the label of one text alone: expected "
            "two or more, one to train on and one to evaluate on; add some, remove it, or name a "
            "table of rows to evaluate on as task.eval"
        )
    return counts


def _rarest(rows: np.ndarray, numbers: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """The rarest label of each of `size` rows; -1 where it has none."""
    order = np.lexsort((numbers, counts[numbers], rows))
    at, place = np.unique(rows[order], return_index=True)
    found = np.full(size, -1, np.int64)
    found[at] = numbers[order][place]
    return found


def check_kept(path: str, held: pa.Array, kept: pa.Array, classes: Sequence[str]) -> None:
    """Raises UserError where a class is among the labels that are held out and not among others."""
    if not classes:
        return
    lost = np.setdiff1d(_pairs(held)[1], _pairs(kept)[1])
    if len(lost):
        raise UserError(
            f"{path}: all rows with {classes[lost[0]][:80]!r} would be evaluated on: expected rows "
            "of each label to train on; add some, hold out fewer, or name a table of rows to "
            "evaluate on as task.eval"
        )
