"""SIGTERM, with which clusters announce that they take a machine away, and Ctrl-C."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

from bpjax.distributed import when_asked_to_end


@contextlib.contextmanager
def watch_for_end() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the step: whether the run has been asked to end, after that step.

    Meanwhile the signals of `ENDING` end nothing by themselves. Of several processes all are told
    after the same step, whichever of them got the signal.
    """
    asked = threading.Event()
    if jax.process_count() > 1:  # jax has its own handler and agrees on the step
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield lambda step: False
        return
    with when_asked_to_end(lambda number, frame: asked.set()):
        yield lambda step: asked.is_set()
