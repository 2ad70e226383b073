"""The tasks by name."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from bpjax.errors import UserError
from bpjax.tasks.base import Task
from bpjax.tasks.embedded import Embedded
from bpjax.tasks.embedding import Embedding
from bpjax.tasks.glue import METRICS, Glue
from bpjax.tasks.squad import Squad, SquadV2
from bpjax.tasks.summarization import PUBLIC, PublicSummarization, Summarization
from bpjax.tasks.text import Text
from bpjax.tasks.tokens import Tokens
from bpjax.tasks.translation import Translation

TASKS: dict[str, Callable[..., Task]] = {
    **{name: functools.partial(Glue, name) for name in METRICS},
    "squad": Squad,
    "squad_v2": SquadV2,
    **{name: functools.partial(PublicSummarization, name=name) for name in PUBLIC},
    "embedded": Embedded,
    "text": Text,
    "tokens": Tokens,
    "embedding": Embedding,
    "summarization": Summarization,
    "translation": Translation,
}


def task_options(name: str) -> dict[str, Any]:
    """The options of a task with their defaults, such as max_length, data_dir or holdout.

    Raises:
      UserError: unknown task.
    """
    if name not in TASKS:
        raise UserError(f"task {name!r}: expected one of {', '.join(TASKS)}; choose one of them")
    make = TASKS[name]
    kind: Any = make.func if isinstance(make, functools.partial) else make
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.name != "name" and field.metadata.get("option", True)
    }


def get_task(name: str, **options: Any) -> Task:
    """Makes a task.

    Args:
      name: a key of `TASKS`.
      **options: some of `task_options(name)`.

    Raises:
      UserError: unknown task or option, or a value out of range; of a user's own tables also what
        is wrong with them.
    """
    known = task_options(name)
    for option in options:
        if option not in known:
            raise UserError(
                f"option {option!r} of task {name}: expected one of {', '.join(known)}; rename or "
                "remove it"
            )
    task: Any = TASKS[name](**options)
    _ = task.labels  # own tables are read for them
    return task
