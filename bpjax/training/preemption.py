"""SIGTERM, with which clusters announce that they take a machine away."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def watch_for_sigterm() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the step: whether the run has been asked to end, after that step.

    Meanwhile SIGTERM ends nothing by itself. Of several processes all are told after the same
    step, whichever of them got the signal.
    """
    asked = threading.Event()
    if jax.process_count() > 1:  # jax has its own handler and agrees on the step
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield lambda step: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield lambda step: asked.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
