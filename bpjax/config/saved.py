"""Configs in files: a field that one lacks, being older than the field, means its default."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flax import traverse_util


class Difference(NamedTuple):
    """A field in which two configs differ.

    Attributes:
      name: flat, such as `pruning.block`.
      saved: its value in the one that was saved.
      now: its value in the other.
    """

    name: str
    saved: Any
    now: Any


def complete(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with the fields that bpjax did not have then: they mean their defaults."""
    found = {**defaults, **saved}
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(found[name], Mapping):
            found[name] = complete(found[name], value)
    return found


def first_difference(
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    defaults: Mapping[str, Any],
    free: Sequence[str] = (),
) -> Difference | None:
    """The first field, by name, in which two configs differ, or two sections of them.

    Args:
      saved: of a file; a field that it lacks means its default.
      now: that of today, as JSON.
      defaults: of today, as JSON; empty where they are not known.
      free: top-level fields that may differ.
    """
    old, new = (
        traverse_util.flatten_dict(dict(config), sep=".")
        for config in (complete(saved, defaults), now)
    )
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and name.split(".")[0] not in free:
            return Difference(name, old.get(name), new.get(name))
    return None
