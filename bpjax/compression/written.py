"""The config file that a compression writes: what it runs, and what anybody can run again."""

import pprint
import shlex
from pathlib import Path

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

CHANGES = {changes}


def get_config() -> ConfigDict:
    config = default_config(task={task!r})
    config.update_from_flattened_dict(CHANGES)
    return config


def get_sweep(workdir: Path) -> list[tuple[str, ConfigDict]]:
    costs = {costs}
    return family(Path(__file__), {kind!r}, {values!r}, ({seed},), workdir, costs)
'''


def write_config(folder: Path, request: Request, plan: Plan) -> str:
    """The text of `folder`/config.py, of which every run of the compression is a run."""
    kind, values = request.budgets
    first = {"budget.kind": kind, "budget.value": values[0]}
    fields = {**changes(plan.config), **first}
    return _TEXT.format(
        model=request.model,
        data=Path(request.data).name,
        file=shlex.quote(str(folder / FILE)),
        runs=shlex.quote(str(folder / "runs")),
        changes=pprint.pformat(fields, width=100, sort_dicts=False),
        task=plan.config.task.name,
        costs='Path(__file__).parent / "costs"' if plan.costs else "None",
        kind=kind,
        values=values,
        seed=request.seed,
    )
