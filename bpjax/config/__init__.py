"""The config of a run: every field with its default, what it takes, and what it means.

Configs are written as ConfigDicts of ml_collections; `validate` checks one and gives the typed
records of `sections`, which is all that the stages see.
"""

from bpjax.config.read import (
    default_config,
    default_fields,
    read_config,
    read_saved,
    read_sweep,
    read_task_options,
)
from bpjax.config.saved import complete, first_difference, same
from bpjax.config.sections import RunConfig
from bpjax.config.validate import validate

__all__ = [
    "RunConfig",
    "complete",
    "default_config",
    "default_fields",
    "first_difference",
    "read_config",
    "read_saved",
    "read_sweep",
    "read_task_options",
    "same",
    "validate",
]
