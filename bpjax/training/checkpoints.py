"""Checkpoints of a stage in training, so that an interrupted run goes on where it stopped."""

import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from tqdm import tqdm

from bpjax.distributed import everywhere, is_main, write_once
from bpjax.errors import UserError
from bpjax.training.mesh import named_leaves
from bpjax.training.state import TrainState


class Checkpoints:
    """The newest training states of one stage, with the seconds spent to get there.

    The state's `step` is the data position too: batches are a function of seed and step. A state is
    restored onto whatever devices there are.
    """

    def __init__(self, folder: Path, keep: int = 2):
        """Opens or creates `folder`, without what a process that was killed left unfinished there.

        Older states than the newest `keep` are removed.
        """
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True
        )
        self._folder = folder
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "progress": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, item_handlers=handlers
        )

    def latest(self) -> int | None:
        """The step of the newest state; None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, seconds: float) -> None:
        """Saves in the background; the copy out of the state's buffers is done on return.

        Raises:
          UserError: this state, or the one before it, cannot be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_storable(state)),
                    progress=ocp.args.JsonSave({"seconds": seconds}),
                ),
            )
        except Exception as error:  # orbax's, tensorstore's and the system's, also of the last save
            raise self._unwritable(error) from error

    def wait(self) -> None:
        """Waits for saves in the background.

        Raises:
          UserError: one could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def restore(self, like: TrainState) -> tuple[TrainState, float]:
        """The newest state and its seconds; `like` itself and 0 where there is none.

        A state that cannot be read, be it by one process alone, is set aside, with a line that says
        so, and the one before it is taken.

        Raises:
          UserError: a state of another model or method.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            self._require_same(step, like)
            found, damage = None, ""
            try:
                found = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(_storable(like)),
                        progress=ocp.args.JsonRestore(),
                    ),
                )
            except Exception as error:  # noqa: BLE001 - of many kinds, by what is damaged
                damage = " ".join(str(error).split())[:100]
            if everywhere(found is not None):
                assert found
                state, seconds = found["state"], found["progress"]["seconds"]
                return state._replace(rng=jax.random.wrap_key_data(state.rng)), seconds
            self._set_aside(step, damage)
        return like, 0.0

    def close(self) -> None:
        """Waits for saves in the background.

        Raises:
          UserError: as `wait`.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    def _set_aside(self, step: int, damage: str) -> None:
        damaged = self._folder / str(step)
        kept = self._folder.with_name(f"damaged_checkpoint_{step}")
        if is_main():
            tqdm.write(
                f"{damaged}: damaged ({damage or 'another process cannot read it'}), now {kept}; "
                "going on from the checkpoint before it, or from the start"
            )

        def set_aside() -> None:
            shutil.rmtree(kept, ignore_errors=True)  # of this step in an earlier start
            damaged.replace(kept)

        write_once(set_aside)
        self._manager.reload()

    def _require_same(self, step: int, like: TrainState) -> None:
        try:
            saved = self._manager.item_metadata(step)["state"].tree
        except Exception:  # noqa: BLE001 - damaged: restoring it will say how
            return
        found, expected = _shapes(saved), _shapes(_storable(like))
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                raise UserError(
                    f"{self._folder / str(step)}: {name} is {found.get(name)}, expected "
                    f"{expected.get(name)}: the checkpoint of another model or method; remove it, "
                    "or choose another --workdir"
                )

    def _unwritable(self, error: Exception) -> UserError:
        last = self.latest()
        return UserError(
            f"checkpoint in {self._folder}: {' '.join(str(error).split())[:200]}: expected room to "
            f"write to; make some, and the same command goes on from step {last or 0}"
        )


def _storable(state: TrainState) -> TrainState:
    return state._replace(rng=jax.random.key_data(state.rng))


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree)}
