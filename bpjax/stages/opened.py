"""Models on disk, each source opened once a process."""

from pathlib import Path
from typing import Any

from jaxtyping import Array, Key

from bpjax.distributed import write_once
from bpjax.errors import UserError
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.tokenizer import check_vocabulary
from bpjax.tasks.base import Task

SAVED = "saved"  # the head that a finished model's config.json names


class Opened:
    """What was opened so far, by source, head and labels.

    The parameters are shared by all who ask for them: nobody may donate their buffers. Training
    copies them (`step.init_state`).
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, int | None], tuple[Any, dict]] = {}

    def open(
        self,
        source: str | Path,
        *,
        head: str = SAVED,
        num_labels: int | None = None,
        dtype: str = "float32",
        rng: Key[Array, ""] | None = None,
    ) -> tuple[Any, dict]:
        """A model's config and parameters.

        Args:
          source: a folder, an installed package or a hub name.
          head: as in `load_pretrained`; by default the one that was saved.
          num_labels: outputs of a classification head that may have to be drawn.
          dtype: compute type.
          rng: for what has to be drawn; the same in the whole run.

        Raises:
          UserError: as `load_pretrained`.
        """
        path = Path(source).expanduser()
        key = (str(path.resolve() if path.is_dir() else source), head, num_labels)
        if key not in self._found:
            labels = 2 if num_labels is None else num_labels
            self._found[key] = load_pretrained(source, head=head, num_labels=labels, rng=rng)
        model, params = self._found[key]
        return model.replace(dtype=dtype), params


def save_model(folder: Path, model: Config, params: dict, tokenizer: Any) -> None:
    """Saves a stage's model as `folder`/model."""
    write_once(save_pretrained, folder / "model", model, params, tokenizer, overwrite=True)


def load_for(task: Task, source: str | Path, tokenizer: Any) -> tuple[Any, dict]:
    """Loads a finished model, which must have the task's head and the tokenizer's vocabulary.

    Raises:
      UserError: no model there, another head or another vocabulary.
    """
    model, params = load_pretrained(source, head=SAVED)
    require_fit(task, source, model, tokenizer)
    return model, params


def require_fit(task: Task, source: str | Path, model: Config, tokenizer: Any) -> None:
    """Refuses a finished model of another head or vocabulary than the task's.

    Raises:
      UserError: it has.
    """
    if (model.head, model.num_labels) != (task.head, task.num_labels):
        raise UserError(
            f"{source} has a {model.head} head of {model.num_labels} outputs: task {task.name} "
            f"expects {task.head} of {task.num_labels}; choose a model or a task that fits"
        )
    check_vocabulary(tokenizer, model)
