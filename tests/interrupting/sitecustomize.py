"""Ends a run by a signal at a step of its own, so that a test need not catch it in the act.

Python imports this file at its start where this folder is in PYTHONPATH: small_run.start sets it.
After step BPJAX_TESTS_STEP of fine-pruning is logged, and the last checkpoint before it is whole,
the process sends BPJAX_TESTS_SIGNAL to itself, or to the parent that supervises it, as a cluster
would.
"""

import os
import time

from bpjax.training import scalars

SIGNAL = int(os.environ["BPJAX_TESTS_SIGNAL"])
SUPERVISED = "BPJAX_WORKER" in os.environ
STAGE, STEP = "prune", int(os.environ["BPJAX_TESTS_STEP"])
SAVED = (STEP - 1) // 4 * 4  # checkpoint_every is 4

begin, write = scalars.Scalars.__init__, scalars.Scalars.write


def begin_and_remember(self, workdir, stage, step):
    begin(self, workdir, stage, step)
    self.stage, self.saved = stage, workdir / stage / "checkpoints" / str(SAVED)


def write_and_end(self, step, values):
    write(self, step, values)
    if self.stage != STAGE or step < STEP or "loss" not in values:
        return
    if step == STEP:
        while not self.saved.is_dir():  # the name that it has when it is whole
            time.sleep(0.01)
        os.kill(os.getppid() if SUPERVISED else os.getpid(), SIGNAL)
    if SUPERVISED:  # jax looks once a second whether a signal came: steps wait for it
        time.sleep(0.5)


scalars.Scalars.__init__, scalars.Scalars.write = begin_and_remember, write_and_end
