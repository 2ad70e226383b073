"""Which rows of a user's tables are trained on, and which are evaluated on."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bpjax.errors import UserError
from bpjax.tasks.base import HOLDOUT_SEED
from bpjax.tasks.tables import TEXT, Table

_BETWEEN = "\x1e"  # of the texts of a row, and of its words


def row_keys(rows: pa.Table, roles: Sequence[str]) -> pa.Array:
    """One text for all that a row gives the model to read."""
    parts = [rows.column(role).combine_chunks() for role in roles]
    between = pa.scalar(_BETWEEN, TEXT)
    parts = [x if x.type == TEXT else pc.binary_join(x, between) for x in parts]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, between)


def check_overlap(train: Table, evaluation: Table, roles: Sequence[str]) -> None:
    """Raises UserError where rows to evaluate on are trained on too."""
    known = pc.is_in(row_keys(evaluation.rows, roles), row_keys(train.rows, roles))
    both = np.flatnonzero(known.to_numpy(zero_copy_only=False))
    if len(both):
        raise UserError(
            f"{evaluation.where(int(both[0]))}: this text is in {train.path} too, as are those of "
            f"{len(both)} of {len(evaluation.rows)} rows: expected rows that were not trained on; "
            "remove them, or set task.allow_overlap to True"
        )


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
    texts = row_keys(table.rows, roles).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(texts, return_index=True)  # texts are numbered as they come
    strata = _rarest(labels, len(classes))[first] if classes else np.zeros(len(first), np.int64)
    rng = np.random.default_rng(HOLDOUT_SEED)
    chosen = np.zeros(len(first), bool)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        if len(members) < 2 and stratum >= 0:
            what = f"{classes[stratum]!r} is the label of one text" if classes else "there is one"
            raise UserError(
                f"{table.where(int(first[members[0]]))}: {what} alone: expected two or more, one "
                "to train on and one to evaluate on; add some, remove it, or name a table of rows "
                "to evaluate on as task.eval"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[rng.permutation(members)[:count]] = True
    held = chosen[texts]
    return np.flatnonzero(~held), np.flatnonzero(held)


def _rarest(labels: pa.Array, classes: int) -> np.ndarray:
    """The rarest of each row's labels; -1 where it has none."""
    if not pa.types.is_large_list(labels.type):
        return labels.to_numpy(zero_copy_only=False)
    flat = labels.values.to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
    pairs = np.unique(np.stack([rows, flat]), axis=1)  # a tag once a row
    counts = np.bincount(pairs[1], minlength=classes)
    order = np.lexsort((pairs[1], counts[pairs[1]], pairs[0]))
    found = np.full(len(labels), -1, np.int64)
    at, place = np.unique(pairs[0][order], return_index=True)
    found[at] = pairs[1][order][place]
    return found
