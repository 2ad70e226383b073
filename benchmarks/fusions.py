"""What a compiled program reads and writes: its instructions by the bytes they move."""

import re
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8}
"""Of an element, by its type in the text of a program; 4 of all others."""

_ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\]")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z\-]+)\((.*)$")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-done"}


class Moved(NamedTuple):
    """An instruction of the program's main part.

    Attributes:
      bytes: of its operands and its results.
      name: in the program.
      kind: such as fusion or custom-call.
      origin: the operation in our code that it comes from, as far as the program tells.
    """

    bytes: int
    name: str
    kind: str
    origin: str


def largest(text: str, count: int = 30) -> list[Moved]:
    """The instructions that move most, of a program as `compiled.as_text()` gives it."""
    sizes: dict[str, int] = {}
    found = []
    for line in _main(text):
        if not (match := _INSTRUCTION.match(line)):
            continue
        name, shape, kind, rest = match.groups()
        sizes[name] = _size(shape)
        if kind in _FREE:
            continue
        operands = re.findall(r"%([\w.\-]+)", rest.partition("), ")[0])
        origin = re.search(r'op_name="([^"]*)"', rest)
        moved = sizes[name] + sum(sizes.get(operand, 0) for operand in operands)
        found.append(Moved(moved, name, kind, origin[1] if origin else ""))
    return sorted(found, reverse=True)[:count]


def _main(text: str) -> list[str]:
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("ENTRY"))
    return lines[first + 1 :]


def _size(shape: str) -> int:
    total = 0
    for kind, axes in _ARRAY.findall(shape):
        elements = 1
        for axis in filter(None, axes.split(",")):
            elements *= int(axis)
        total += BYTES.get(kind, 4) * elements
    return total
