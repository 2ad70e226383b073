"""Which task a table and a model fit, and whether the model knows that task already."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.compression.request import AUTO, Request
from bpjax.config import read_task_options
from bpjax.errors import UserError
from bpjax.models.labels import SavedHead
from bpjax.spelling import spelled
from bpjax.stages.opened import has_head, require_named, saved_head
from bpjax.tasks import TASKS, get_task, task_options
from bpjax.tasks.base import Task
from bpjax.tasks.table_source import column_names

TABLES = ("tokens", "text", "embedding")
"""Tasks on tables, in the order in which their columns are looked for."""

PAIRS = {"text", "text_pair", "label"}
"""Columns of pairs with scores, which a model of embeddings is evaluated on."""


class Recognised(NamedTuple):
    """What a request is about.

    Attributes:
      task: the task, its table read.
      options: of the task, as a config has them.
      is_new: the model has no head for it, and is fine-tuned first.
      columns: of the table, by what they are to the task.
    """

    task: Task
    options: dict[str, Any]
    is_new: bool
    columns: Mapping[str, str]


def recognise(request: Request) -> Recognised:
    """Reads the table, and holds it against the model's head.

    Raises:
      UserError: a table that no task fits or that is malformed, options that the task does not
        have, or a model whose head is of another task or has other labels.
    """
    head = saved_head(request.model)
    name = _name(request, head)
    options = {**request.options, "data": request.data, "eval": request.eval}
    task: Any = get_task(name, **options)
    return Recognised(
        task, options, _is_new(request, task, head), dict(task.read.train.table.names)
    )


def read_options(task: str, overrides: list[str]) -> dict[str, Any]:
    """Options of a task from arguments such as `--task.label=stars`, of the first that has them.

    Raises:
      UserError: no task has them, or a value of another type.
    """
    names = [text.partition("=")[0].removeprefix("--task.") for text in overrides]
    told: UserError | None = None
    for name in TABLES if task == AUTO else (task,):
        try:
            found = read_task_options(name, overrides)
        except UserError as error:
            told = error
        else:
            return {name: found[name] for name in names}
    assert told
    raise told


def _name(request: Request, head: SavedHead) -> str:
    """The task that was asked for, or the first whose columns the table has.

    To a model of embeddings, texts without labels and scored pairs are to be embedded.
    """
    if request.task != AUTO:
        if request.task not in TABLES:
            raise UserError(
                f"--task={request.task}: expected {', '.join(TABLES)} or {AUTO}; choose one of them"
            )
        return request.task
    path = Path(request.data).expanduser()
    tasks: dict[str, Any] = {
        name: TASKS[name](data=request.data, **request.options)
        for name in TABLES
        if request.options.keys() <= task_options(name).keys()
    }
    if not tasks:
        raise UserError(
            f"options {', '.join(request.options)}: expected those of one of the tasks "
            f"{', '.join(TABLES)}; see `bpjax config --task=NAME`"
        )
    # What a file does not say of itself is the same to all of them.
    names = column_names(path, next(iter(tasks.values())).layout)
    fitting: dict[str, set[str]] = {}
    told: dict[str, UserError] = {}
    for name, task in tasks.items():
        try:
            fitting[name] = {*task.choose(path, names)}
        except UserError as error:
            told[name] = error
    embeds = head.head == "embedding" and "embedding" in fitting
    if embeds and ("text" not in fitting or fitting["embedding"] == PAIRS):
        return "embedding"
    for name in ("tokens", "text"):
        if name in fitting:
            return name
    raise told.get("text") or next(iter(told.values()))


def _is_new(request: Request, task: Task, head: SavedHead) -> bool:
    """Whether the model has to learn the task first.

    A head of another task, or of other labels, is nothing that a user would lose unasked.
    """
    if task.head == head.head == "embedding":
        return False  # it has no parameters
    if task.head == "embedding":
        raise UserError(
            f"{request.model} is no model of embeddings: expected modules.json beside its config, "
            "as sentence-transformers writes it; choose another model or --task"
        )
    if head.head in (None, "none", "embedding") or request.new_head:
        return True
    if has_head(task, head):
        require_named(task, request.model, head)
        return False
    if head.head != task.head:
        raise UserError(
            f"{request.model} has a head of another task ({head.head}): expected {task.head}, as "
            f"{request.data} is read; choose another model or --task, or give it a new head with "
            "--new_head"
        )
    known = {spelled(name) for name in head.labels}
    unknown = [name for name in task.labels if spelled(name) not in known]
    difference = (
        f"has labels that {request.model} does not know ({_shown(unknown)})"
        if head.labels and unknown
        else f"has {task.num_labels} labels, and {request.model} has {head.num_labels}"
    )
    raise UserError(
        f"{request.data} {difference}: expected those that it was fine-tuned on; correct the "
        "table, or give the model a new head with --new_head"
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
