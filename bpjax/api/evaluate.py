"""How good a model is."""

from pathlib import Path
from typing import Any

from bpjax.api.model import opened
from bpjax.prediction.model import Model
from bpjax.stages.opened import fitted
from bpjax.tasks import get_task
from bpjax.tasks.base import by_class
from bpjax.training.answers import answers
from bpjax.training.input import Batching, eval_batches


def evaluate(
    model: Model | str | Path, task: str, *, batch_size: int = 32, **options: Any
) -> dict[str, Any]:
    """The metrics of a finished model on a task's evaluation rows.

    Args:
      model: a model with the task's head, or what `load` takes.
      task: its name: "text" or "tokens" on a table of one's own, "sst2", "squad" and other official
        ones, or "embedded", which is generated.
      batch_size: rows computed at a time.
      **options: of the task, such as `data="train.csv"`, `eval="dev.csv"` or `data_dir="data"`;
        `bpjax config --task=NAME` lists them.

    Returns:
      Metrics by name, in percent unless a name ends in `_threshold` or `_error`. Where the task
      tells its classes apart also `classes`: `precision`, `recall` and `f1` in percent and
      `support`, a count, by class.

    Raises:
      UserError: an unknown task or option, data that is missing or malformed, or a model of another
        head, other labels or another vocabulary.

    Example:
      >>> import bpjax
      >>> found = bpjax.evaluate("runs/quickstart/fill/model", "embedded", eval_size=20)
      >>> sorted(found)
      ['exact_match', 'f1']
    """
    asked, found = get_task(task, **options), opened(model)
    asked = fitted(asked, found.source or "the model", found.config, found.tokenizer)
    features = asked.evaluation(found.tokenizer)
    batches = eval_batches(features, Batching(batch_size))
    said = answers(found.config, found.params, batches, found.tokenizer)
    classes = by_class(asked, features, said)
    return asked.evaluate(features, said) | ({"classes": classes} if classes else {})
