"""Pruning methods, one file each, behind one contract.

To add a method, write a function `pattern, **options -> Method` in a file of its own and name it
in `METHODS`.
"""

import inspect
from collections.abc import Callable
from typing import Any

from bpjax.pruning.methods.activation import activation
from bpjax.pruning.methods.base import Method
from bpjax.pruning.methods.cofi import cofi
from bpjax.pruning.methods.fisher import fisher
from bpjax.pruning.methods.group_lasso import group_lasso
from bpjax.pruning.methods.l0 import l0
from bpjax.pruning.methods.magnitude import magnitude
from bpjax.pruning.methods.movement import movement
from bpjax.pruning.patterns import Pattern

METHODS: dict[str, Callable[..., Method]] = {
    "movement": movement,
    "magnitude": magnitude,
    "l0": l0,
    "group_lasso": group_lasso,
    "activation": activation,
    "cofi": cofi,
    "fisher": fisher,
}


def method_options(name: str) -> dict[str, Any]:
    """The options of a method with their defaults, such as movement's binarizer and floor.

    Raises:
      ValueError: an unknown method.
    """
    _require_known(name)
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def make_method(name: str, pattern: Pattern, **options: Any) -> Method:
    """The method of that name for a pattern.

    Args:
      name: a key of `METHODS`.
      pattern: which kernels are scored, in what blocks.
      **options: some of `method_options(name)`.

    Raises:
      ValueError: an unknown method, or a pattern or value that the method refuses.
    """
    _require_known(name)
    method = METHODS[name](pattern, **options)
    if pattern.streams and not method.takes_streams:
        raise ValueError(
            f"method {name}: the pattern is {pattern.name}: expected one without scores of the "
            "hidden state, such as struct; take method cofi, or another pattern"
        )
    return method


def _require_known(name: str) -> None:
    if name not in METHODS:
        raise ValueError(f"method {name!r}: expected one of {', '.join(METHODS)}")
