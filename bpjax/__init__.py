"""Block pruning of pretrained transformers in JAX: smaller, measurably faster, dense models."""

import importlib
import os
from typing import TYPE_CHECKING, Any

# transformers remarks on the absence of PyTorch, which bpjax does not want. It reads this when it
# is first imported, so it is set here, before any module of bpjax is.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bpjax.models import describe, resize
    from bpjax.models.checkpoint import load_pretrained as load
    from bpjax.models.checkpoint import save_pretrained as save
    from bpjax.pruning.methods import make_method
    from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
    from bpjax.pruning.schedules import ScheduleValues
    from bpjax.pruning.summary import summarize
    from bpjax.pruning.surgery import shrink

__all__ = [
    "ScheduleValues",
    "apply_masks",
    "build_mask_collection",
    "describe",
    "load",
    "make_method",
    "make_pattern",
    "resize",
    "save",
    "shrink",
    "summarize",
]

_PLACES = {
    "ScheduleValues": "pruning.schedules",
    "apply_masks": "pruning.patterns",
    "build_mask_collection": "pruning.patterns",
    "describe": "models",
    "load": "models.checkpoint:load_pretrained",
    "make_method": "pruning.methods",
    "make_pattern": "pruning.patterns",
    "resize": "models",
    "save": "models.checkpoint:save_pretrained",
    "shrink": "pruning.surgery",
    "summarize": "pruning.summary",
}
"""Module of each name, and its name there if that is another. Loaded at first use: `import bpjax`
alone loads no JAX."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'bpjax' has no attribute {name!r}")
    module, _, there = _PLACES[name].partition(":")
    found = getattr(importlib.import_module(f"bpjax.{module}"), there or name)
    globals()[name] = found  # so that it is looked up once
    return found
