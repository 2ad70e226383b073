"""Training steps: ours, plain and hybrid-masked, beside PyTorch's plain one."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.models import BASE, MINILM
from bpjax.deploy.latency import measure_latency, random_batch
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.tasks import get_task
from bpjax.training.optimizer import make_optimizer
from bpjax.training.step import Pruning, init_state, make_train_step

STEPS = 1000  # of the schedules, which are traced: their number does not matter

CASES = (
    ("MiniLM", MINILM, (32, 14)),
    ("MiniLM", MINILM, (32, 64)),
    ("MiniLM", MINILM, (8, 384)),
    ("BERT-base", BASE, (8, 128)),
)


class StepCall:
    """A training step as a call that feeds itself its own state; buffers are donated."""

    def __init__(
        self, config: BertConfig, params: dict, batch: dict, *, masked: bool, dtype: str
    ) -> None:
        """Compiles it."""
        pruning = Pruning(dense(), NO_PATTERN, cubic(steps=STEPS, warmup_steps=0))
        if masked:
            pattern = make_pattern("hybrid", bert.describe(config), (32, 32))
            schedule = cubic(
                steps=STEPS,
                warmup_steps=10,
                initial_warmup=0.0,
                final_warmup=1.0,
                threshold=(0.0, 0.1),
                density=(1.0, 1.0),
                penalty=20.0,
            )
            pruning = Pruning(make_method("movement", pattern), pattern, schedule)
        optimizer = make_optimizer(
            steps=STEPS, warmup_steps=10, learning_rate=1e-5, score_learning_rate=1e-2
        )
        self.batch = batch
        self.state = init_state(params, pruning, optimizer, jax.random.key(0))
        self.step = make_train_step(
            config.replace(dtype=dtype), get_task("sst2"), pruning, optimizer
        )
        lowered = self.step.compiled.lower(self.state, batch, {})
        self.memory = lowered.compile().memory_analysis()

    def __call__(self) -> Any:
        """One update."""
        self.state, metrics = self.step(self.state, self.batch)
        return metrics

    def peak_bytes(self) -> int:
        """What the step needs beside its arguments, and those."""
        return self.memory.temp_size_in_bytes + self.memory.argument_size_in_bytes


def time_training(*, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every case in float32 and with bfloat16 products: a row each."""
    rows = []
    for name, config, (size, length) in CASES:
        params = bert.init(config, jax.random.key(0))
        tokens = random_batch(size, length, config.vocab_size)
        batch = {
            **tokens,
            "label": jnp.zeros(size, jnp.int32),
            "weight": jnp.ones(size),
        }
        ours = {
            (dtype, kind): StepCall(config, params, batch, masked=kind == "masked", dtype=dtype)
            for dtype in ("float32", "bfloat16_products")
            for kind in ("plain", "masked")
        }
        theirs = peers.torch_step(peers.make_torch(config, params), peers.tensors(tokens))
        medians = measure_latency(
            {**ours, ("torch", ""): theirs}, rounds=rounds, seconds=seconds, warmup=2
        )
        for dtype in ("float32", "bfloat16_products"):
            plain, masked = medians[dtype, "plain"], medians[dtype, "masked"]
            rows.append(
                {
                    "model": name,
                    "shape": f"{size}x{length}",
                    "dtype": dtype,
                    "plain_ms": plain,
                    "masked_ms": masked,
                    "masked_over_plain": masked / plain,
                    "masked_over_plain_bytes": ours[dtype, "masked"].peak_bytes()
                    / ours[dtype, "plain"].peak_bytes(),
                    "torch_ms": medians["torch", ""],
                    "ratio_torch": medians["torch", ""] / plain,
                    "ratio_torch_masked": medians["torch", ""] / masked,
                }
            )
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    return rows
