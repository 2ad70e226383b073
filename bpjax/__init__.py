"""Block pruning of pretrained transformers in JAX: smaller, measurably faster, dense models."""

import importlib
import os
from typing import TYPE_CHECKING, Any

# transformers remarks on the absence of PyTorch, which bpjax does not want. It reads this when it
# is first imported, so it is set here, before any module of bpjax is.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bpjax.models import describe as describe
    from bpjax.models import resize as resize
    from bpjax.models.checkpoint import save_pretrained
    from bpjax.prediction.model import load_model
    from bpjax.pruning.methods import make_method as make_method
    from bpjax.pruning.patterns import apply_masks as apply_masks
    from bpjax.pruning.patterns import build_mask_collection as build_mask_collection
    from bpjax.pruning.patterns import make_pattern as make_pattern
    from bpjax.pruning.schedules import ScheduleValues as ScheduleValues
    from bpjax.pruning.summary import summarize as summarize
    from bpjax.pruning.surgery import shrink as shrink

    load, save = load_model, save_pretrained

_PLACES = {
    "ScheduleValues": "pruning.schedules",
    "apply_masks": "pruning.patterns",
    "build_mask_collection": "pruning.patterns",
    "describe": "models",
    "load": "prediction.model:load_model",
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
    return getattr(importlib.import_module(f"bpjax.{module}"), there or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
