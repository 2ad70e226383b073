"""Which tensor of a checkpoint is which of a model's arrays: each has one place, or is refused."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bpjax.errors import UserError
from bpjax.models.architecture import Stored
from bpjax.models.sources import CONFIG, WEIGHTS, Checkpoint


class Turn(NamedTuple):
    """How an array of a checkpoint becomes ours, and back.

    Attributes:
      to_ours: from the stored array.
      to_stored: from ours.
      shape: of the stored array, from ours.
    """

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_stored: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]


TURNS = {
    "keep": Turn(lambda x: x, lambda x: x, lambda shape: shape),
    "transpose": Turn(lambda x: x.T, lambda x: x.T, lambda shape: shape[::-1]),
    "row": Turn(lambda x: x[0], lambda x: x[None], lambda shape: (1, *shape)),
}
"""By the name in `Stored.turn`. PyTorch stores kernels as `[out, in]`."""


class Place(NamedTuple):
    """Where one of a model's arrays lies.

    Attributes:
      name: of the stored tensor.
      shape: that it must have, from the model's sizes.
      rows: of it that are this array's.
      copies: of other tensors that are tied to it.
    """

    name: str
    shape: tuple[int, ...]
    rows: slice
    copies: tuple[str, ...] = ()


def find_places(checkpoint: Checkpoint, table: Mapping[str, Stored]) -> dict[str, Place]:
    """Of each array of a model, by its path: the tensor that holds it, whether it is there or not.

    Args:
      checkpoint: of the model.
      table: `Architecture.tensors` of the model.

    Raises:
      UserError: two tensors that mean the same, or tied ones that differ.
    """
    rows: dict[str, int] = {}
    parts = {}
    for path, stored in table.items():
        shape = TURNS[stored.turn].shape(stored.shape)
        start = rows.get(stored.name, 0)
        rows[stored.name] = start + shape[0]
        parts[path] = (shape[1:], slice(start, start + shape[0]))
    found = {}
    for path, stored in table.items():
        there = [name for name in (stored.name, *stored.also) if name in checkpoint]
        if len(there) > 1:
            raise UserError(
                f"{checkpoint.folder}: {there[0]} and {there[1]} mean the same tensor: expected "
                "one of them; save the checkpoint again"
            )
        inner, own = parts[path]
        tied = [*there, *(name for name in stored.copies if name in checkpoint)]
        name, *copies = tied or [stored.name]
        _require_tied(checkpoint, name, copies)
        found[path] = Place(name, (rows[stored.name], *inner), own, tuple(copies))
    return found


def _require_tied(checkpoint: Checkpoint, name: str, copies: Sequence[str]) -> None:
    """Raises UserError: tensors that differ where a model has one."""
    for copy in copies:
        if checkpoint.shape(copy) != checkpoint.shape(name) or not np.array_equal(
            checkpoint.read(copy), checkpoint.read(name), equal_nan=True
        ):
            raise UserError(
                f"{checkpoint.folder}: {copy} differs from {name}: expected one table of word "
                "embeddings, of both stacks and the head; choose a model whose embeddings are tied"
            )


def unwrap(checkpoint: Checkpoint, table: Mapping[str, Stored]) -> Checkpoint:
    """The checkpoint without what a wrapper put before every name.

    Such as `module.`, PyTorch's DataParallel, or `_orig_mod.`, its compiler.

    Raises:
      UserError: such a word before some names and not before others.
    """
    known = {
        name for stored in table.values() for name in (stored.name, *stored.also, *stored.copies)
    }
    names = checkpoint.names()
    if known.intersection(names):
        return checkpoint
    for name in names:
        whole = max((x for x in known if name.endswith(f".{x}")), key=len, default="")
        if not whole:
            continue
        prefix = name.removesuffix(whole)
        others = [other for other in names if not other.startswith(prefix)]
        if others:
            raise UserError(
                f"{checkpoint.folder}: {name} begins with {prefix!r} and {others[0]} does not: "
                "expected names as transformers saves them; save the model itself again"
            )
        return checkpoint.without(prefix)
    return checkpoint


def require_places(
    checkpoint: Checkpoint,
    places: Mapping[str, Place],
    *,
    unread: Sequence[str],
    owned: Sequence[str],
    strict: bool,
    described: str,
) -> list[str]:
    """Refuses tensors that have no place in the model.

    Args:
      checkpoint: of the model.
      places: `find_places` of it.
      unread: ends of names that no such model reads.
      owned: beginnings of names that always need a place.
      strict: all names need one; else what is not owned is another head's.
      described: the model in words, for messages.

    Returns:
      The names that are left aside.

    Raises:
      UserError: there are such tensors.
    """
    known = {name for place in places.values() for name in (place.name, *place.copies)}
    left = []
    for name in checkpoint.names():
        if name in known or name.endswith(tuple(unread)):
            continue
        if strict or name.startswith(tuple(owned)):
            raise UserError(
                f"{checkpoint.folder}: {name} has no place in {described} as {CONFIG} describes "
                f"it; {_mend(name, name.startswith(tuple(owned)))}"
            )
        left.append(name)
    return left


def _mend(name: str, inside: bool) -> str:
    if "lora_" in name or "adapter" in name:
        return "it is of an adapter: merge it into the weights and save the model again"
    if "distance_embedding" in name:
        return "it is of relative positions, which bpjax does not have: choose another encoder"
    if "crossattention" in name:
        return "it is of a decoder: choose an encoder"
    if not inside:
        return f"name the class of its head in architectures of {CONFIG}, if bpjax has that head"
    return f"use the {CONFIG} and {WEIGHTS} of one model"
