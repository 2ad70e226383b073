"""Scalars of a run, by stage and step: as JSON lines and for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from bpjax.distributed import is_main
from bpjax.files import write_whole


class Scalars:
    """Writes the scalars of one stage to `scalars.jsonl` and `tensorboard/STAGE`."""

    def __init__(self, workdir: Path, stage: str, step: int):
        """Continues a stage after `step`: later rows, of a run cut short, are dropped.

        Only process 0 writes.
        """
        self._stage = stage
        self._tensorboard = None
        if not is_main():
            return
        self._path = workdir / "scalars.jsonl"
        rows = [r for r in read_scalars(workdir) if r["stage"] != stage or r["step"] <= step]
        # Whole or not at all: a run may be killed at any moment, and other stages' rows are here.
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        logdir = str(workdir / "tensorboard" / stage)
        self._tensorboard = SummaryWriter(logdir, purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one row: `{"stage": …, "step": …, name: value, …}`."""
        if self._tensorboard is None:
            return
        row = {"stage": self._stage, "step": step, **values}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes what TensorBoard has not written."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_scalars(workdir: Path) -> list[dict[str, Any]]:
    """The rows of a run's `scalars.jsonl`, oldest first; a half-written last line is left out."""
    path = workdir / "scalars.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
