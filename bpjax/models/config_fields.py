"""The fields of a config.json: how each is read, and which change nothing, for any architecture."""

from collections.abc import Mapping
from typing import Any

from bpjax.errors import UserError
from bpjax.models.architecture import Json
from bpjax.models.sizes import SHRUNKEN_KEY, is_size

Taken = Mapping[str, tuple[Any, ...]]
"""Values of fields that would change what a model computes; the first is what a file without the
field means."""

WITHOUT_EFFECT = (
    "architectures",  # read apart, as are the names of labels: `labels.read_head`
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "model_type",
    # How a computation is done, what comes with its result, and what is told of the file.
    "_name_or_path",
    "_attn_implementation",
    "attn_implementation",
    "chunk_size_feed_forward",
    "dtype",  # weights are read as float32
    "torch_dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "tie_last_hidden_states",
    "transformers_version",
    "use_cache",
)
"""Fields whose values change nothing of what bpjax computes, whatever the architecture."""


def require_taken(data: Json, taken: Taken, where: str, kind: str = "model") -> None:
    """Refuses a file whose model computes what ours does not.

    Args:
      data: the decoded config.json.
      taken: values of fields.
      where: the file's name, for messages.
      kind: of model that another one is to be chosen of.

    Raises:
      UserError: a field with a value that is not taken, or code of its own.
    """
    for key, values in taken.items():
        # Files older than a key mean its default.
        found = data.get(key, values[0])
        if not any(found == value and type(found) is type(value) for value in values):
            raise UserError(
                f"{where}: {key} is {repr(found)[:80]}: expected {values[0]!r}; choose another "
                f"{kind}"
            )
    if data.get("auto_map") and SHRUNKEN_KEY not in data:
        raise UserError(
            f"{where}: auto_map names code of the model's own: expected a model that "
            f"transformers has; choose another {kind}"
        )


def without_aliases(data: Json, aliases: Mapping[str, str], where: str) -> dict[str, Any]:
    """The file's contents with each field under its own name.

    Args:
      data: the decoded config.json.
      aliases: other names that transformers reads, and the fields' own.
      where: the file's name, for messages.

    Raises:
      UserError: two names of one field with different values.
    """
    found = dict(data)
    for alias, name in aliases.items():
        if alias in found:
            value = found.pop(alias)
            if found.setdefault(name, value) != value:
                raise UserError(
                    f"{where}: {name} is {found[name]!r} and {alias}, which means the same, is "
                    f"{value!r}: expected one of the two; correct the file"
                )
    return found


def read_size(data: Json, key: str, where: str, default: int | None = None) -> int:
    """A whole number above 0.

    Raises:
      UserError: it is none, or missing where there is no default.
    """
    value = data.get(key, default)
    if not is_size(value, 1):
        found = repr(value) if key in data else "missing"
        raise UserError(
            f"{where}: {key} is {found}: expected a whole number above 0; correct the file"
        )
    return int(value)


def read_fraction(data: Json, key: str, where: str, default: float = 0.0) -> float:
    """A number in [0, 1).

    Raises:
      UserError: it is none.
    """
    value = data.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise UserError(f"{where}: {key} is {value!r}: expected a number in [0, 1); correct it")
    return float(value)
