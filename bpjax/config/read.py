"""Reading configs: files with get_config() or get_sweep(), and what the command line changes."""

import json
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from bpjax.config.fields import to_values
from bpjax.config.sections import RunConfig, TaskSection
from bpjax.config.validate import validate
from bpjax.errors import UserError
from bpjax.tasks import TASKS, task_options


def default_config(task: str = "embedded") -> ConfigDict:
    """All fields. A file under configs/ changes some of them in its `get_config()`.

    Args:
      task: a name in the registry of tasks; `config.task` holds that task's own options.
    """
    config = ConfigDict(to_values(RunConfig(task=TaskSection.of(task))))
    config.task = _task_options(task) | {"name": task}
    return config.lock()  # a field misspelt in a config file is an error


def default_fields(task: str) -> dict[str, Any]:
    """The same as a report has it, in JSON's types; empty for a task that is not known here."""
    return json.loads(json.dumps(default_config(task).to_dict())) if task in TASKS else {}


def read_config(path: str, overrides: list[str]) -> ConfigDict:
    """Reads a config file and changes some of its fields.

    Args:
      path: a Python file with `get_config()`.
      overrides: arguments such as `--config.budget.value=40.0`.

    Raises:
      UserError: no such file, an error in it, an unknown field, a value of another type or out of
        range.
    """
    return _finish(f"config {path}: get_config()", _call(path, "get_config"), overrides)


def read_sweep(path: str, workdir: Path, overrides: list[str]) -> dict[str, ConfigDict]:
    """Reads a sweep: the configs of many runs by name.

    Args:
      path: a Python file with `get_sweep(workdir)`, which gives (name, config) pairs. A run may
        read what one before it writes under `workdir`/NAME, such as its teacher.
      workdir: folder of the runs.
      overrides: as for `read_config`, of every config.

    Raises:
      UserError: as `read_config`; no runs, two of one name, or a name that is not a folder's.
    """
    found: dict[str, ConfigDict] = {}
    for pair in _call(path, "get_sweep", workdir.absolute()) or ():
        name, config = pair if isinstance(pair, tuple) and len(pair) == 2 else (pair, None)
        if not re.fullmatch(r"[\w.=+-]*\w[\w.=+-]*", str(name)):
            raise UserError(
                f"sweep {path}: run {str(name)[:80]!r}: expected a pair of a name of letters, "
                "digits and ._=+- and a config; rename it"
            )
        if name in found:
            raise UserError(f"sweep {path}: two runs are named {name!r}; rename one of them")
        found[name] = _finish(f"sweep {path}: run {name!r}", config, overrides)
    if not found:
        raise UserError(f"sweep {path}: get_sweep() gives no runs; return (name, config) pairs")
    return found


def _call(path: str, function: str, *arguments: Any) -> Any:
    if not Path(path).is_file():
        raise UserError(f"config {path}: no such file; name a file under configs/ or experiments/")
    try:
        return runpy.run_path(path)[function](*arguments)
    except Exception as error:  # whatever a user's own code may raise
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"config {path}: {text}; expected {function}() that changes fields of "
            "bpjax.config.default_config(); correct the file"
        ) from error


def _finish(where: str, config: Any, overrides: list[str]) -> ConfigDict:
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{where} gives {type(config).__name__}, expected a ConfigDict; "
            "return the changed bpjax.config.default_config()"
        )
    _override("config", config, overrides)
    validate(config)
    return config


def read_saved(saved: Mapping[str, Any]) -> RunConfig:
    """The typed config of a run from its config.json or report; what it lacks has its default.

    Raises:
      UserError: it has a field that there is no more, or a value that is not taken today.
    """
    config = default_config(saved["task"]["name"])
    try:
        config.update(saved)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"config of an earlier run: {' '.join(str(error).split())}: expected today's fields; "
            "run it again"
        ) from error
    return validate(config)


def read_task_options(task: str, overrides: list[str]) -> dict[str, Any]:
    """The options of a task, some of them changed by arguments such as `--task.max_length=128`.

    Raises:
      UserError: unknown task or option, or a value of another type.
    """
    options = ConfigDict(_task_options(task)).lock()
    _override("task", options, overrides)
    return options.to_dict()


def _task_options(task: str) -> dict[str, Any]:
    return {
        name: config_dict.placeholder(str) if value is None else value
        for name, value in task_options(task).items()
    }


def _override(name: str, config: ConfigDict, overrides: list[str]) -> None:
    values = flags.FlagValues()
    arguments = ["bpjax", *overrides]
    try:
        config_flags.DEFINE_config_dict(name, config, flag_values=values, sys_argv=arguments)
        _, *unknown = values(arguments)
    except Exception as error:  # absl's several kinds, and those of the types' parsers
        text = " ".join(str(error).split())
        raise UserError(
            f"argument {' '.join(overrides)}: {text}; expected --{name}.FIELD=VALUE, see "
            "`bpjax config` for all fields"
        ) from error
    if unknown:
        raise UserError(f"argument {unknown[0]!r}: expected --{name}.FIELD=VALUE; write it so")
