"""Pruning methods, one file each, behind one contract.

To add a method, write a function `pattern, **options -> Method` in a file of its own and name it
in `METHODS`.
"""

from collections.abc import Callable
from typing import Any

from bpjax.pruning.methods.base import Method
from bpjax.pruning.methods.magnitude import magnitude
from bpjax.pruning.methods.movement import movement
from bpjax.pruning.patterns import Pattern

METHODS: dict[str, Callable[..., Method]] = {"movement": movement, "magnitude": magnitude}


def make_method(name: str, pattern: Pattern, **options: Any) -> Method:
    """The method of that name for a pattern.

    Args:
      name: a key of `METHODS`.
      pattern: which kernels are scored, in what blocks.
      **options: the method's own, see its function.

    Raises:
      ValueError: an unknown method, or a value that the method refuses.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r}: expected one of {', '.join(METHODS)}")
    return METHODS[name](pattern, **options)
