"""Checkpoints of a stage in training, so that an interrupted run goes on where it stopped."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from bpjax.training.step import TrainState


class Checkpoints:
    """The newest training states of one stage, with the seconds spent to get there.

    The state's `step` is the data position too: batches are a function of seed and step.
    """

    def __init__(self, folder: Path, keep: int = 2):
        """Opens or creates `folder`, without what a process that was killed left unfinished there.

        Older states than the newest `keep` are removed.
        """
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState, seconds: float) -> None:
        """Saves in the background; the copy out of the state's buffers is done on return."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_storable(state)),
                progress=ocp.args.JsonSave({"seconds": seconds}),
            ),
        )

    def restore(self, like: TrainState) -> tuple[TrainState, float]:
        """The newest state and its seconds; `like` itself and 0 where there is none."""
        step = self._manager.latest_step()
        if step is None:
            return like, 0.0
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_storable(like)),
                progress=ocp.args.JsonRestore(),
            ),
        )
        state = restored["state"]
        return state._replace(rng=jax.random.wrap_key_data(state.rng)), restored.progress["seconds"]

    def close(self) -> None:
        """Waits for saves in the background."""
        self._manager.wait_until_finished()
        self._manager.close()


def _storable(state: TrainState) -> TrainState:
    return state._replace(rng=jax.random.key_data(state.rng))
