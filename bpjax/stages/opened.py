"""Models on disk, each source opened once a process."""

from pathlib import Path
from typing import Any

from jaxtyping import Array, Key

from bpjax import models
from bpjax.distributed import write_once
from bpjax.errors import UserError
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import (
    EMBEDDING,
    SAVED,
    load_pretrained,
    read_saved_head,
    save_pretrained,
)
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.labels import SavedHead, match
from bpjax.models.sources import CONFIG, find_model
from bpjax.models.tokenizer import check_vocabulary
from bpjax.tasks.base import Embeds, Task
from bpjax.tasks.own import TableTask


class Opened:
    """What was opened so far, by source, head and labels.

    The parameters are shared by all who ask for them: nobody may donate their buffers. Training
    copies them (`step.init_state`).
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[Any, dict]] = {}

    def open(
        self,
        source: str | Path,
        *,
        head: str = SAVED,
        num_labels: int | None = None,
        labels: tuple[str, ...] = (),
        dtype: str = "float32",
        rng: Key[Array, ""] | None = None,
        bias: tuple[float, ...] | None = None,
    ) -> tuple[Any, dict]:
        """A model's config and parameters.

        Args:
          source: a folder, an installed package or a hub name.
          head: as in `load_pretrained`; by default the one that was saved.
          num_labels: outputs of a classification head that may have to be drawn.
          labels: their names, in the order that the outputs are to have.
          dtype: compute type.
          rng: for what has to be drawn; the same in the whole run.
          bias: of a head that is drawn; by default zeros.

        Raises:
          UserError: as `load_pretrained`.
        """
        path = Path(source).expanduser()
        key = (str(path.resolve() if path.is_dir() else source), head, num_labels, labels, bias)
        if key not in self._found:
            count = 2 if num_labels is None else num_labels
            self._found[key] = load_pretrained(
                source, head=head, num_labels=count, labels=labels, rng=rng, bias=bias
            )
        model, params = self._found[key]
        return model.replace(dtype=dtype), params


def save_model(folder: Path, model: Config, params: dict, tokenizer: Any) -> None:
    """Saves a stage's model as `folder`/model."""
    write_once(save_pretrained, folder / "model", model, params, tokenizer, overwrite=True)


def fitted(task: Task, source: str | Path, model: Config, tokenizer: Any) -> Task:
    """The task with its classes numbered as a finished model numbers them.

    Args:
      task: to ask the model.
      source: the model's, for messages.
      model: the model's config.
      tokenizer: that makes the task's features.

    Raises:
      UserError: the model has another head, other labels or another vocabulary.
    """
    found = align(task, model)
    require_fit(found, source, model, tokenizer)
    return found


def saved_head(source: str | Path) -> SavedHead:
    """The head of a model on disk, from its config.json alone.

    Raises:
      UserError: no model there.
    """
    return read_saved_head(find_model(source) / CONFIG)


def align(task: Task, model: Config | SavedHead) -> Task:
    """The task with its classes numbered as a model numbers those of the same names.

    Where one of the two has no names, or has others, it stays as it is. One of embeddings has its
    texts as the model wants them.
    """
    told = _embedding_of(model)
    if told and isinstance(task, Embeds):
        found: Task = task.as_model(told.prompt, told.max_length, model.num_labels)
        return found
    places = match(model.labels, task.labels)
    return task.with_labels(tuple(task.labels[i] for i in places)) if places else task


def _embedding_of(model: Config | SavedHead) -> Embedding | None:
    if isinstance(model, SavedHead):
        return model.embedding
    return models.architecture(model).embedding(model) if model.head == EMBEDDING else None


def has_head(task: Task, model: Config | SavedHead) -> bool:
    """Whether a model's head is of the task's kind and tells the same labels apart.

    Where one of the two has no names, the numbers are taken to mean the same.
    """
    if model.head != task.head:
        return False
    if model.head in HEADS and HEADS[model.head].vocabulary:
        return True
    if model.num_labels != task.num_labels:
        return False
    named = task.labels and model.labels
    return not named or match(model.labels, task.labels) is not None


def require_named(task: Task, source: str | Path, model: Config | SavedHead) -> None:
    """Refuses the class names of a user's own table for a model that has numbers alone.

    The classes of an official dataset have an order that everybody uses; those of a table do not.

    Raises:
      UserError: which number is which class nobody says.
    """
    numbers = tuple(map(str, range(task.num_labels)))
    if isinstance(task, TableTask) and not model.labels and task.labels not in ((), numbers):
        raise UserError(
            f"{source} has no names of labels, and {task.data} has {', '.join(task.labels)[:80]}: "
            "expected the same names in id2label of its config.json, which say what its outputs "
            "mean; write them there"
        )


def require_fit(task: Task, source: str | Path, model: Config, tokenizer: Any) -> None:
    """Refuses a finished model of another head or vocabulary than the task's.

    Raises:
      UserError: it has.
    """
    if not has_head(task, model):
        theirs, ours = (f" ({', '.join(x.labels)[:80]})" if x.labels else "" for x in (model, task))
        raise UserError(
            f"{source} has a {model.head} head of {model.num_labels} outputs{theirs}: task "
            f"{task.name} expects {task.head} of {task.num_labels}{ours}; choose a model or a task "
            "that fits"
        )
    require_named(task, source, model)
    told = _embedding_of(model)
    if told and isinstance(task, Embeds) and told.prompt != task.prompt:
        raise UserError(
            f"{source} puts {told.prompt!r} before a text: expected {task.prompt!r}, as the model "
            "does that is pruned; choose a model with the same default prompt"
        )
    check_vocabulary(tokenizer, model)
