"""Records what PyTorch transformers answers to the checkpoints of tests/config_changes.py.

python tests/golden/make_config_changes.py, with the extra `torch`, from the project's folder.
"""

import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "parity")]

from config_changes import base, cases, change  # noqa: E402
from theirs import their_answer  # noqa: E402

if __name__ == "__main__":
    found = {}
    for name, family, head, changes in cases():
        folder = pathlib.Path(tempfile.mkdtemp())
        base(folder, family, head)
        change(folder, **changes)
        values = their_answer(folder, head)
        found[name] = None if values is None else [round(x, 7) for x in values.ravel()]
    (HERE / "config_changes.json").write_text(json.dumps(found, indent=0) + "\n")
