"""What a field of a config is: its default, what it takes, and a sentence, in one place."""

import dataclasses
import functools
import json
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Check(NamedTuple):
    """What a field takes.

    Attributes:
      accepts: whether it takes a value; a TypeError means that it does not.
      words: the same in words, such as "a whole number of at least 1".
    """

    accepts: Callable[[Any], bool]
    words: str


class Field(NamedTuple):
    """A field of a section as it was declared.

    Attributes:
      name: flat, such as `batch.size`.
      check: what it takes.
      text: its documentation, after that of a section inside a section.
    """

    name: str
    check: Check
    text: str


def field(default: Any, check: Check, text: str) -> Any:
    """Declares a field of a section, a frozen dataclass."""
    return dataclasses.field(default=default, metadata={"check": check, "text": text})


def section(make: Callable[[], Any]) -> Any:
    """Declares a section inside another one; its class's docstring says what it is about."""
    return dataclasses.field(default_factory=make)


def others(make: Callable[[], Mapping[str, Any]]) -> Any:
    """Declares the mapping that holds what else a section has beside its fields, as options."""
    return dataclasses.field(default_factory=make, metadata={"others": True})


def declared(kind: type, prefix: str = "") -> Iterator[Field]:
    """All fields of a section and of those inside it, but for options."""
    hints = typing.get_type_hints(kind)
    about = f"{summary(kind)} " if prefix.count(".") > 1 else ""
    for found in dataclasses.fields(kind):
        name = prefix + found.name
        if dataclasses.is_dataclass(hints[found.name]):
            yield from declared(typing.cast(type, hints[found.name]), f"{name}.")
        elif not found.metadata.get("others"):
            yield Field(name, found.metadata["check"], about + found.metadata["text"])


def summary(kind: type) -> str:
    """What a section is about: the first line of its docstring."""
    return (kind.__doc__ or "").partition("\n")[0]


def to_values(record: Any) -> dict[str, Any]:
    """A section as nested dicts, options among its fields."""
    values: dict[str, Any] = {}
    for found in dataclasses.fields(record):
        value = getattr(record, found.name)
        if found.metadata.get("others"):
            values |= value
        else:
            values[found.name] = to_values(value) if dataclasses.is_dataclass(value) else value
    return values


def to_json_values(record: Any) -> dict[str, Any]:
    """The same in JSON's types."""
    return json.loads(json.dumps(to_values(record)))


def to_record(kind: type, values: Mapping[str, Any]) -> Any:
    """What `to_values` was given."""
    hints, given = typing.get_type_hints(kind), {}
    names = {found.name for found in dataclasses.fields(kind)}
    for found in dataclasses.fields(kind):
        if found.metadata.get("others"):
            given[found.name] = {k: v for k, v in values.items() if k not in names}
        elif dataclasses.is_dataclass(hints[found.name]):
            given[found.name] = to_record(hints[found.name], values[found.name])
        else:
            given[found.name] = values[found.name]
    return kind(**given)


def lookup(values: Mapping[str, Any], name: str) -> Any:
    """The value of a field, by its flat name, in nested dicts."""
    return functools.reduce(lambda found, part: found[part], name.split("."), values)


def one_of(names: Iterable[str]) -> Check:
    """One of some names."""
    return Check(lambda value: value in names, f"one of {', '.join(names)}")


def number(low: int | float, high: int | float = math.inf, *, above: bool = False) -> Check:
    """A finite number of at least `low`, or above it, and of at most `high`."""
    bound = "above" if above else "at least"
    words = f"a number {bound} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")

    def accepts(value: Any) -> bool:
        return math.isfinite(value) and (low < value if above else low <= value) and value <= high

    return Check(accepts, words)


def whole(low: int) -> Check:
    """A whole number of at least `low`."""
    return Check(functools.partial(_is_whole, low), f"a whole number of at least {low}")


def every(low: int, words: str, count: int | None = None) -> Check:
    """Whole numbers of at least `low`, `count` of them where it is given."""

    def accepts(value: Any) -> bool:
        return count in (None, len(value)) and all(_is_whole(low, x) for x in value)

    return Check(accepts, words)


def whole_or(low: int, other: int, words: str) -> Check:
    """A whole number of at least `low`, or a certain other one."""
    return Check(lambda value: value == other or _is_whole(low, value), words)


def text(words: str) -> Check:
    """Any text; ConfigDict holds the type."""
    return Check(lambda value: isinstance(value, str), words)


def triples(words: str) -> Check:
    """Triples of a glob and two whole numbers of at least 1."""

    def accepts(value: Any) -> bool:
        return all(
            isinstance(glob, str) and len(sizes) == 2 and all(_is_whole(1, x) for x in sizes)
            for glob, *sizes in value
        )

    return Check(accepts, words)


FRACTION = number(0, 1)
FLAG = Check(lambda value: isinstance(value, bool), "true or false")


def _is_whole(low: int, value: Any) -> bool:
    return isinstance(value, int) and value >= low
