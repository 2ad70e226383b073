"""Block pruning of pretrained transformers in JAX: smaller, measurably faster, dense models."""

import os

# transformers remarks on the absence of PyTorch, which bpjax does not want. It reads this when it
# is first imported, so it is set here, before any module of bpjax is.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"
