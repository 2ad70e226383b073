"""How long programs were traced and compiled, or read where they are kept compiled."""

import contextlib
from collections.abc import Callable, Iterator

from jax import monitoring

_EVENTS = "/jax/core/compile/"


@contextlib.contextmanager
def watch_compiling() -> Iterator[Callable[[], float]]:
    """Yields a function that gives the seconds spent on that since the start."""
    spans: list[tuple[float, float]] = []  # apart from each other, in the order of time

    def add(event: str, start_time: float, end_time: float, **_: str | int) -> None:
        if not event.startswith(_EVENTS):
            return
        # A function that another one calls is traced within the tracing of that one.
        while spans and spans[-1][1] > start_time:
            before = spans.pop()
            start_time, end_time = min(start_time, before[0]), max(end_time, before[1])
        spans.append((start_time, end_time))

    monitoring.register_event_time_span_listener(add)
    try:
        yield lambda: sum(end - start for start, end in spans)
    finally:
        monitoring.unregister_event_time_span_listener(add)
