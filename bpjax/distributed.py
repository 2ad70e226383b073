"""The processes of one run: how they find each other, and what only one of them does.

Every process runs the same program on the same config, over one mesh of all their devices, and
reads the same folder, which all hosts must share; process 0 alone writes there.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from bpjax.errors import UserError

RESUME = 75
"""Exit code of a run that was cut short and goes on when it is started again (EX_TEMPFAIL)."""

ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask a run to save and end."""

_WORKER = "BPJAX_WORKER"


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def everywhere(value: bool) -> bool:
    """Whether it is true in every process."""
    return bool(multihost_utils.process_allgather(np.array(value)).all())


def write_once(write: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Calls `write` in process 0; when it returns, what was written is there for all."""
    if is_main():
        write(*args, **options)
    barrier(getattr(write, "__name__", "write"))


@contextlib.contextmanager
def when_asked_to_end(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Meanwhile `handler` takes the signals of `ENDING`, in the main thread."""
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def supervise(arguments: Sequence[str]) -> int | None:
    """Runs the program in a child, whose death it explains; None in that child itself.

    jax ends a process by abort when another one is gone or was never there, which no handler of its
    own can turn into a message.

    Args:
      arguments: of the program.

    Returns:
      The child's exit code, or `RESUME` where a signal ended it.
    """
    if _WORKER in os.environ:
        return None
    child = subprocess.Popen(
        [sys.executable, "-m", "bpjax", *arguments], env=os.environ | {_WORKER: "1"}
    )
    with when_asked_to_end(lambda received, _: child.send_signal(received)):
        code = child.wait()
    if code >= 0:
        return code
    sys.stderr.write(
        f"bpjax: ended by {signal.Signals(-code).name}: another process of this run has died, or "
        "the coordinator could not be reached; start all of them again with the same command, and "
        "the run goes on from its newest checkpoint\n"
    )
    return RESUME


def join(coordinator: str | None, processes: int | None, process: int | None, seconds: int) -> None:
    """Joins the other processes of this run; before the first array is made.

    Args:
      coordinator: HOST:PORT of process 0. None: it and the numbers are taken from the environment,
        where TPU pods, Slurm, Kubernetes and Open MPI have them.
      processes: how many there are.
      process: this one's number, from 0.
      seconds: to wait for the others to start. After as many without a sign of one, jax aborts.

    Raises:
      UserError: the coordinator cannot be reached, or the environment names none.
    """
    if coordinator and process:
        _require_reachable(coordinator, seconds)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=seconds,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: {' '.join(str(error).split())[:200]}: expected the environment of a "
            "TPU pod, Slurm, Kubernetes or Open MPI, or --coordinator, --processes and --process; "
            "give them"
        ) from error


def _require_reachable(coordinator: str, seconds: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT of process 0; correct it")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"--coordinator={coordinator}: {error.strerror or error}: expected process 0 "
                    f"there within {seconds} seconds; start it, or correct the address"
                ) from error
            time.sleep(0.2)
