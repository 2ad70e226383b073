"""The folder of a run: which config it belongs to, and which stages are finished."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock, Timeout
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bpjax.config import complete, default_fields, first_difference
from bpjax.distributed import barrier, is_main, write_once
from bpjax.errors import UserError
from bpjax.files import write_whole

LOCK = ".lock"


class Origin(NamedTuple):
    """Something outside its folder that a run is made from.

    Attributes:
      name: its key in `origins.json`.
      digest: of its content.
      differs: what a message says of another one, such as "the training rows are not those".
    """

    name: str
    digest: str
    differs: str


class Workdir:
    """A run's folder.

    `config.json` says whose it is, and `origins.json` what the run began with, by digests;
    `STAGE/done.json` marks a finished stage and holds what later stages need to know of it. A stage
    without that file is run (again).
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        free: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
    ):
        """Opens or creates the folder. It becomes this config's with the first stage.

        Args:
          path: of the folder.
          config: of the run.
          free: top-level fields that may differ from one start to the next.
          defaults: of every field, as JSON: what a folder means that was made before bpjax had it.

        Raises:
          UserError: it cannot be written, or belongs to a run with another config.
        """
        self.path = path
        self._config = json.loads(json.dumps(config))
        self._origins: dict[str, str] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            before = path / "config.json"
            if before.exists():
                _require_same(path, before.read_text(), self._config, defaults or {}, free)
        except OSError as error:
            raise UserError(
                f"workdir {path}: {error.strerror or error}: expected a folder that can be "
                "written; choose another --workdir"
            ) from error

    def hold_to(self, origins: Sequence[Origin]) -> None:
        """Holds the run to what it began with; what a folder does not know yet it takes.

        Args:
          origins: what the run is made from now. They are kept with the first stage that runs.

        Raises:
          UserError: one is not what the run began with.
        """
        self._origins = {each.name: each.digest for each in origins}
        path = self.path / "origins.json"
        if not (self.path / "config.json").exists() or not path.exists():
            return
        try:
            before = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}: expected the digests that bpjax wrote; remove it where nothing that the "
                "run reads has changed, or choose another --workdir"
            ) from error
        for each in origins:
            if before.get(each.name, each.digest) != each.digest:
                raise UserError(
                    f"workdir {self.path}: {each.differs} that this run began with; restore what "
                    "was there, or choose another --workdir"
                )

    def stage(self, name: str, run: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Runs a stage unless it is finished, and returns what it noted.

        A finished stage goes on from what it saved: its checkpoints are removed, but not before
        `done.json` is written, lest a run cut short between the two has neither.

        Args:
          name: of the stage and of its folder.
          run: does the work in that folder and returns JSON values to note. Where the run's first
            stage refuses its config, the folder stays nobody's.
        """
        folder, mine = self.path / name, self.path / "config.json"
        done, origins = folder / "done.json", self.path / "origins.json"
        first = not mine.exists()
        barrier(f"{name} begins")
        if not done.exists():
            # Before the folder is somebody's: it then is known what the run began with.
            write_once(write_whole, origins, _readable(self._origins))
            write_once(write_whole, mine, _readable(self._config))
            folder.mkdir(exist_ok=True)
            try:
                notes = run(folder)
            except UserError:
                if first and is_main():
                    mine.unlink()
                    origins.unlink()
                raise
            write_once(write_whole, done, _readable(notes))
        write_once(shutil.rmtree, folder / "checkpoints", ignore_errors=True)
        return json.loads(done.read_text())

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps the folder from other runs; a process that dies lets go of it.

        Raises:
          UserError: another process has it.
        """
        if not is_main():
            yield
            return
        try:
            with FileLock(self.path / LOCK, timeout=0):
                yield
        except Timeout as error:
            raise UserError(
                f"workdir {self.path}: another process is running it; wait for its end, or choose "
                "another --workdir"
            ) from error


def is_taken(path: Path) -> bool:
    """Whether a process is running in that workdir."""
    if not path.is_dir():
        return False
    try:
        with FileLock(path / LOCK, timeout=0):
            return False
    except Timeout:
        return True


@contextlib.contextmanager
def earlier_run(field: str, path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yields the config of another run that has finished pruning, whose files the block reads.

    Fields that bpjax did not have when it ran are there with their defaults.

    Args:
      field: of the config, that names the run's folder.
      path: that folder.
      kind: of run that is expected there, for the message.

    Raises:
      UserError: the folder or a file is not there, or does not fit.
    """
    try:
        (path / "prune" / "done.json").read_text()
        saved = json.loads((path / "config.json").read_text())
        yield complete(saved, default_fields(saved["task"].get("name")))
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(
            f"config.{field} is {str(path)!r}: expected the --workdir of {kind} "
            f"({' '.join(str(error).split())[:80]}); name one"
        ) from error


def save_arrays(path: Path, tree: dict[str, Any]) -> None:
    """Saves a nested dict of arrays as safetensors, keys joined by "//"."""
    flat = traverse_util.flatten_dict(tree, sep="//")
    save_file({name: np.asarray(value) for name, value in flat.items()}, path)


def load_arrays(path: Path) -> dict[str, Any]:
    """What `save_arrays` saved."""
    flat = jax.tree.map(jnp.asarray, load_file(path))
    return traverse_util.unflatten_dict(flat, sep="//")


def _require_same(
    path: Path,
    before: str,
    now: dict[str, Any],
    defaults: Mapping[str, Any],
    free: Sequence[str],
) -> None:
    try:
        saved = json.loads(before)
    except ValueError:
        saved = None
    if not isinstance(saved, dict):
        raise UserError(
            f"workdir {path}: expected its config.json to be a run's; choose another --workdir"
        )
    if found := first_difference(saved, now, defaults, free):
        raise UserError(
            f"workdir {path} was made by another config: {found.name} is {found.saved!r} there and "
            f"{found.now!r} now; use the same config, or another --workdir"
        )


def _readable(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
