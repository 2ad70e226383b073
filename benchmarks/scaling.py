"""What a training step would take on 1 to 256 TPU chips, from what its compiled program does.

Compiled for eight simulated devices: arithmetic of a device and bytes of every operation between
devices, for plain and masked steps, on meshes of eight by one, four by two and one by eight. From
these follow the times on a named chip, under the assumptions of `Chip` and `seconds`; they are
estimates, nothing here has run on a TPU. What can be checked here is checked: the bytes that a step
sums are four for each parameter that a row reaches, masked or not, for the gradient of a score
follows from that of its kernel, which is summed anyway; and those that it collects are four for
each parameter, where fsdp divides them.

Command:  python -m benchmarks.scaling [--output=results/scaling/report.json]
Hardware: 2 CPU cores, about 15 minutes.
"""

import argparse
import json
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp

from benchmarks.models import BASE, LARGE
from bpjax import models
from bpjax.files import write_whole
from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.models.heads import HEADS
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.report.environment import describe_environment
from bpjax.report.table import align
from bpjax.training.mesh import Layout, make_layout
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import make_train_step

ROWS, LENGTH = 32, 128  # on each chip
CHIPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MESHES = ((8, 1), (4, 2), (1, 8))
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1}


class Chip(NamedTuple):
    """A chip and its links, in operations and bytes a second.

    Attributes:
      name: of the generation.
      flops: peak of bfloat16 products.
      utilisation: fraction of it that a step reaches: assumed.
      link: bytes a second in one direction around the torus: half of all its links.
      hop: seconds from a chip to the next: assumed.
    """

    name: str
    flops: float
    utilisation: float
    link: float
    hop: float


V5E = Chip("TPU v5e", 197e12, 0.4, 100e9, 1e-6)


def main() -> None:
    """Compiles, estimates, writes the JSON and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/scaling/report.json"))
    options = parser.parse_args()
    rows, estimates = [], []
    for name, model in (("BERT-base", BASE), ("BERT-large", LARGE)):
        for masked in (False, True):
            for mesh in MESHES:
                rows.append({"model": name, "masked": masked, **analyse(model, mesh, masked)})
                print(rows[-1], flush=True)
        found = {tuple(row["mesh"]): row for row in rows if row["model"] == name and row["masked"]}
        estimates += [
            {"model": name, "chips": chips, **estimate(found, chips, V5E)} for chips in CHIPS
        ]
    report = {
        "command": "python -m benchmarks.scaling",
        "environment": describe_environment(),
        "rows_per_chip": ROWS,
        "length": LENGTH,
        "chip": V5E._asdict(),
        "compiled": rows,
        "estimates": estimates,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.output, json.dumps(report, indent=2) + "\n")
    print(align([tuple(estimates[0]), *(tuple(map(_text, x.values())) for x in estimates)]))


def analyse(model: BertConfig, mesh: tuple[int, int], masked: bool) -> dict[str, Any]:
    """What one device does in a step: arithmetic, memory, and what goes between devices."""
    layout = make_layout(*mesh)
    model = model.replace(head="classification", num_labels=2, dtype="bfloat16")
    structure = bert.describe(model)
    pattern = make_pattern("hybrid", structure, (32, 32)) if masked else NO_PATTERN
    method = make_method("movement", pattern) if masked else dense()
    pruning = Pruning(method, pattern, cubic(steps=100, warmup_steps=0, penalty=1.0))
    optimizer = make_optimizer(steps=100, warmup_steps=1, learning_rate=1e-4)
    head = HEADS[model.head]
    step = make_train_step(Recipe(model, structure, head, pruning, optimizer, layout=layout))
    state = jax.eval_shape(
        lambda rng: init_state(models.init(model, rng), pruning, optimizer, rng), jax.random.key(0)
    )
    compiled = step.compiled.lower(_placed(layout, state), _batch(layout), {}).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    moved = _moved(compiled.as_text())
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(state.params)]
    # The gradients, but of positions that no row reaches; and a few scalars.
    reached = sum(sizes) - (model.max_positions - LENGTH) * model.hidden_size
    assert 0 <= moved["all-reduce"]["bytes"] - 4 * reached < 10_000, moved
    # The parameters where fsdp divides them; scores are few beside them.
    divided = 4 * sum(sizes) if mesh[1] > 1 else 0
    found = moved.get("all-gather", {"bytes": 0})["bytes"]
    assert 0.99 * divided <= found <= 1.01 * divided, moved
    return {
        "mesh": list(mesh),
        "flops": cost["flops"],
        "state_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "parameters": sum(sizes),
        "between_devices": moved,
    }


def _placed(layout: Layout, tree: Any) -> Any:
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        layout.shardings(tree),
    )


def _batch(layout: Layout) -> dict[str, jax.ShapeDtypeStruct]:
    count = ROWS * layout.devices
    shapes: dict[str, Any] = {
        each.name: ((count, LENGTH), jnp.int32) for each in models.inputs(BASE)
    }
    shapes |= dict.fromkeys(("label", "index"), ((count,), jnp.int32))
    shapes["weight"] = ((count,), jnp.float32)
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=layout.rows)
        for name, (shape, dtype) in shapes.items()
    }


def _moved(text: str) -> dict[str, dict[str, int]]:
    """Count of the operations between devices, and bytes of what they give, by kind."""
    found = {}
    for kind in KINDS:
        results = re.findall(rf"= (.*?) {kind}(?:-start)?\(", text)
        arrays = [x for result in results for x in re.findall(r"(\w+)\[([\d,]*)\]", result)]
        sizes = [BYTES[t] * math.prod(map(int, filter(None, n.split(",")))) for t, n in arrays]
        if results:
            found[kind] = {"count": len(results), "bytes": sum(sizes)}
    return found


def estimate(found: dict[tuple[int, int], dict[str, Any]], chips: int, chip: Chip) -> dict:
    """Seconds and efficiency of a step with as many rows on each chip, on two kinds of meshes."""
    alone = seconds(found[(8, 1)], 1, chip, {})
    estimates: dict[str, float | None] = {}
    for name, mesh in (("data", (8, 1)), ("fsdp8", (1, 8))):
        time = None
        if chips >= mesh[1]:
            time = seconds(found[mesh], chips, chip, found[mesh]["between_devices"])
        estimates[f"seconds_{name}"] = time
        estimates[f"efficiency_{name}"] = time and alone / time
    return estimates


def seconds(row: dict[str, Any], chips: int, chip: Chip, moved: dict[str, dict[str, int]]) -> float:
    """Of a step: its arithmetic, and then what is sent, as if the two never overlapped.

    A ring over n chips sends 2(n − 1)/n of the bytes that are summed, (n − 1)/n of those that are
    collected. All chips sum, around a square torus; those that divide the parameters collect them.
    """
    time = row["flops"] / (chip.flops * chip.utilisation)
    for kind, operations in moved.items():
        ring = row["mesh"][1] if kind == "all-gather" else chips
        hops = 4 * (math.isqrt(ring) - 1) + (ring > 1)
        factor = 2 if kind == "all-reduce" else 1
        time += factor * (ring - 1) / ring * operations["bytes"] / chip.link
        time += hops * chip.hop * operations["count"]
    return time


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
