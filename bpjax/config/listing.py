"""All fields of a config with their documentation: what `bpjax config` prints."""

import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from bpjax.config.fields import declared, lookup, summary
from bpjax.config.read import default_config
from bpjax.config.sections import RunConfig
from bpjax.pruning.methods import METHODS
from bpjax.tasks import TASKS

_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_WIDTH, _INDENT = 100, " " * 6


class Listed(NamedTuple):
    """A field.

    Attributes:
      name: flat, such as `batch.size`.
      default: its value unless a config sets it.
      takes: what values it takes, in words.
      text: what it means.
    """

    name: str
    default: Any
    takes: str
    text: str


def list_fields(task: str) -> list[Listed]:
    """Every field of the config of a task, in the order of its sections.

    Raises:
      UserError: unknown task.
    """
    values = default_config(task).to_dict()
    listed: list[Listed] = []
    for found in declared(RunConfig):
        listed.append(Listed(found.name, lookup(values, found.name), found.check.words, found.text))
        if found.name == "task.name":
            make = TASKS[task]
            kind = make.func if isinstance(make, functools.partial) else make
            listed += _options("task", values["task"], kind)
        elif found.name == "pruning.affine_norm":  # the last but for the methods' options
            for name, function in METHODS.items():
                listed += _options(f"pruning.{name}", values["pruning"][name], function)
    return listed


def format_fields(listed: list[Listed]) -> str:
    """The same as text: what an argument would set, and below it what it means."""
    lines, hints, before = [], typing.get_type_hints(RunConfig), ""
    for found in listed:
        section, _, field = found.name.partition(".")
        if field and section != before:
            lines += ["", f"{section}: {summary(hints[section])}"]
        before = section
        lines += _lines(found)
    return "\n".join(lines)


def _lines(found: Listed) -> Iterator[str]:
    yield f"  --config.{found.name}={found.default!r}"
    told = f"{found.text} Takes {found.takes}."
    yield from textwrap.wrap(told, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _options(section: str, defaults: dict[str, Any], source: Any) -> Iterator[Listed]:
    texts = _documented(source)
    for name, default in defaults.items():
        if name != "name":
            takes = _TYPES.get(type(default), "such a value")
            takes = "text, or nothing" if default is None else takes
            yield Listed(f"{section}.{name}", default, takes, texts.get(name, ""))


def _documented(source: Any) -> dict[str, str]:
    """What docstrings say of arguments or attributes: a function's, or a class's and its bases'."""
    found: dict[str, str] = {}
    for part in reversed(inspect.getmro(source) if inspect.isclass(source) else (source,)):
        doc = inspect.cleandoc(part.__doc__ or "")
        told = re.search(r"^(?:Args|Attributes):\n((?:  .*\n?)+)", doc, re.MULTILINE)
        entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", told[1] if told else "", re.MULTILINE)
        found |= {name: _sentence(text) for name, text in entries}
    return found


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
