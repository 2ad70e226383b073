"""Block pruning of pretrained transformers in JAX: smaller, measurably faster, dense models."""

import importlib
import os
from typing import TYPE_CHECKING, Any

# transformers remarks on the absence of PyTorch, which bpjax does not want. It reads this when it
# is first imported, so it is set here, before any module of bpjax is.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bpjax.api.benchmark import benchmark as benchmark
    from bpjax.api.evaluate import evaluate as evaluate
    from bpjax.api.model import describe as describe
    from bpjax.api.model import export as export
    from bpjax.api.model import load as load
    from bpjax.api.model import predict as predict
    from bpjax.api.model import save as save
    from bpjax.api.prune import mask as mask
    from bpjax.api.prune import shrink as shrink
    from bpjax.api.quantize import quantize as quantize
    from bpjax.api.trim import trim as trim
    from bpjax.compression.run import compress as compress

_PLACES = {
    "load": "api.model",
    "save": "api.model",
    "predict": "api.model",
    "describe": "api.model",
    "mask": "api.prune",
    "shrink": "api.prune",
    "quantize": "api.quantize",
    "trim": "api.trim",
    "compress": "compression.run",
    "evaluate": "api.evaluate",
    "benchmark": "api.benchmark",
    "export": "api.model",
}
"""Module of each function, loaded at first use: `import bpjax` alone loads no JAX.

No module or package of bpjax may have the name of a function here: it would take its place.
"""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'bpjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bpjax.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*_PLACES, "__version__"]
