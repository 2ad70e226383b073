"""The measure stage: metric, size and latency of the dense and the pruned model, side by side.

So of the quantised model, where there is one.
"""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from bpjax import models
from bpjax.config import RunConfig
from bpjax.errors import UserError
from bpjax.measure.flops import theoretical_speedup
from bpjax.measure.latency import compare_latency
from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.inputs import common
from bpjax.pruning.costs import linear_parameters
from bpjax.pruning.structure import Structure
from bpjax.report.environment import describe_environment
from bpjax.report.sizes import size_keys
from bpjax.stages.base import Artefacts, Inputs, Stage
from bpjax.stages.evaluator import evaluator_of
from bpjax.stages.inputs import timed_shapes
from bpjax.training.evaluation import forward

HOW = ("dtype", "dense_sizes", "generation")
"""Fields of configs in which models may differ that are compared, beside rates of dropout."""


def run(inputs: Inputs, config: RunConfig, artefacts: Artefacts, folder: Path) -> dict[str, Any]:
    """Measures all on the device that the run is on, which the notes describe."""
    started = time.perf_counter()
    shapes, evaluator = timed_shapes(config), evaluator_of(inputs, config)
    kinds = {"dense": "dense", "pruned": "model", "quantized": "quantized"}
    folders = {name: artefacts[kind] for name, kind in kinds.items() if kind in artefacts}
    opened = {
        name: inputs.finished(path, dtype=config.model.dtype) for name, path in folders.items()
    }
    latency = compare_latency(
        {
            name: (functools.partial(forward, model), params)
            for name, (model, params) in opened.items()
        },
        shapes,
        inputs=common([models.inputs(model) for model, _ in opened.values()]),
        rounds=config.measure.rounds,
    )
    structures = {name: describe(model) for name, (model, _) in opened.items()}
    linear = {name: sum(linear_parameters(x).values()) for name, x in structures.items()}
    units = {name: {x.name: x.units for x in s.sublayers} for name, s in structures.items()}
    measured: dict[str, Any] = {}
    for name, (model, params) in opened.items():
        answers = evaluator.answers(model, params)
        classes = evaluator.by_class(answers)
        measured[name] = {
            "metrics": evaluator.evaluate(answers),
            **({"classes": classes} if classes else {}),
            **_stream_sizes(structures[name]),
            "linear_params": linear[name],
            **_stacks(structures[name]),
            "total_params": sum(x.size for x in jax.tree.leaves(params)),
            "bytes_on_disk": sum(x.stat().st_size for x in folders[name].glob("*.safetensors")),
            "latency_ms": latency[name],
        }
    return {
        "seconds": time.perf_counter() - started,
        **measured,
        "density": linear["pruned"] / linear["dense"],
        **size_keys(units["pruned"], units["dense"]),
        "speedup": _speedup(latency["dense"], latency["pruned"]),
        **(
            {"quantized_speedup": _speedup(latency["dense"], latency["quantized"])}
            if "quantized" in latency
            else {}
        ),
        "theoretical_speedup": {
            f"{b}x{n}": theoretical_speedup(structures["dense"], structures["pruned"], b, n)
            for b, n in shapes
        },
        # That in which latencies were measured, whoever writes the report.
        "environment": describe_environment(),
    }


def _speedup(dense: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {shape: milliseconds / other[shape] for shape, milliseconds in dense.items()}


def _stacks(structure: Structure) -> dict[str, Any]:
    """Linear parameters of the encoder and of the decoder, of a model that has both."""
    by_name = linear_parameters(structure)
    found: dict[str, int] = {}
    for each in structure.sublayers:
        found[each.stack] = found.get(each.stack, 0) + by_name[each.name]
    return {"linear_params_by_stack": found} if len(found) > 1 else {}


def _stream_sizes(structure: Structure) -> dict[str, Any]:
    """Dimensions of the residual streams; of an encoder's only one as it is called there."""
    sizes = {name: stream.size for name, stream in structure.streams.items()}
    return {"hidden_size": sizes["hidden"]} if [*sizes] == ["hidden"] else {"streams": sizes}


def check(inputs: Inputs, config: RunConfig) -> None:
    """Refuses a given dense model that differs from the model in more than its parameters.

    Raises:
      UserError: it does.
    """
    source = config.teacher.source
    if not source:
        return
    model, _ = inputs.pretrained(config.model, config.seed)
    dense, _ = inputs.finished(source)
    # A pruned model that is pruned further is compared with what it was once.
    before = models.architecture(model).dense(model)
    told = [_difference(dense, expected) for expected in (model, before) if expected]
    if all(told):
        raise UserError(
            f"{source} has {told[0]} as the model that is compared with it; to learn from it, name "
            "it as distillation.source, or set model.source to one of its sizes"
        )


def _difference(model: Config, expected: Config) -> str:
    """In what a model is another one, but for how it computes; empty where it is not."""
    found, wanted = vars(model), vars(expected)
    for name, value in wanted.items():
        same = name in HOW or "dropout" in name
        if found[name] != value and not same:
            return f"{name} {found[name]}, expected {value}"
    return ""


def report(notes: Mapping[str, Any]) -> dict[str, Any]:
    """All that was measured."""
    return {name: value for name, value in notes.items() if name != "seconds"}


MEASURE = Stage(
    name="measure",
    number=4,
    run=run,
    takes=("dense", "model", "quantized"),
    check=check,
    report=report,
)
