"""SIGTERM, with which clusters announce that they take a machine away, and Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a run to save and end."""


@contextlib.contextmanager
def watch_for_end() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the step: whether the run has been asked to end, after that step.

    Meanwhile they end nothing by themselves. Of several processes all are told after the same
    step, whichever of them got the signal.
    """
    asked = threading.Event()
    if jax.process_count() > 1:  # jax has its own handler and agrees on the step
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield lambda step: False
        return
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in ENDING}
    try:
        yield lambda step: asked.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
