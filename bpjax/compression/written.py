"""The config file that a compression writes: what it runs, and what anybody can run again."""

import json
import shlex
from pathlib import Path
from typing import Any

from bpjax.compression.plan import Plan
from bpjax.compression.recipe import changes
from bpjax.compression.request import Request

FILE = "config.py"

_TEXT = '''"""{model} on {data}, written by bpjax compress.

Command:  bpjax sweep {file} --workdir={runs}
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import default_config
from bpjax.sweep import family


def get_config() -> ConfigDict:
    config = default_config(task={task})
{changes}
    return config


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    costs = {costs}
    return family(Path(__file__), {kind}, {values}, ({seed},), workdir, costs)
'''


def config_text(folder: Path, request: Request, plan: Plan) -> str:
    """What `folder`/config.py is to say: a sweep, of which all runs of the compression are runs."""
    kind, values = request.budgets
    first = {"budget.kind": kind, "budget.value": values[0]}
    fields = {**changes(plan.config), **first}
    return _TEXT.format(
        model=request.model,
        data=Path(request.data).name,
        file=shlex.quote(str(folder / FILE)),
        runs=shlex.quote(str(folder / "runs")),
        changes="\n".join(f"    config.{name} = {_code(fields[name])}" for name in sorted(fields)),
        task=_code(plan.config.task.name),
        costs='Path(__file__).parent / "costs"' if plan.costs else "None",
        kind=_code(kind),
        values=values,
        seed=request.seed,
    )


def _code(value: Any) -> str:
    """A value as Python, texts in the quotes that people use here."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
