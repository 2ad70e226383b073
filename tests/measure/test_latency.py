"""Latency is the median of interleaved runs; arithmetic agrees with the literature's counts."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax import models
from bpjax.measure.flops import forward_flops, linear_flops, theoretical_speedup
from bpjax.measure.latency import compare_latency, measure_latency, random_batch
from bpjax.models.bert import BertConfig
from bpjax.models.inputs import Input


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a timed function moves it."""

    class Clock:
        now = 0.0

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_takes_turns_in_alternating_order():
    calls = []
    fns = {name: lambda name=name: calls.append(name) for name in "abc"}
    measure_latency(fns, rounds=3, warmup=1)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"


def test_is_the_median_in_milliseconds(clock):
    times = {"dense": iter([9.0, 0.1, 0.4, 0.2, 0.3, 7.0]), "pruned": iter([9.0] + [0.05] * 5)}
    fns = {name: lambda series=series: clock.sleep(next(series)) for name, series in times.items()}
    medians = measure_latency(fns, rounds=5, warmup=1)
    assert medians == pytest.approx({"dense": 300.0, "pruned": 50.0})


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [(100.0, 3 + 20), (12.0, 3 + 12), (6.0, 2 + 6), (0.0, 1 + 3)],
    ids=["all rounds", "fewer rounds", "fewer warm-up rounds too", "never below three"],
)
def test_stays_within_the_time_given(clock, seconds, calls):
    made = []

    def run():
        made.append(1)
        clock.sleep(1.0 + 1e-6)

    measure_latency({"slow": run}, rounds=20, warmup=3, seconds=seconds)
    assert len(made) == calls


@pytest.mark.parametrize(("fns", "rounds"), [({}, 5), ({"f": lambda: 0}, 0)])
def test_refuses_to_time_nothing(fns, rounds):
    with pytest.raises(ValueError, match="at least one of each"):
        measure_latency(fns, rounds=rounds)


def test_waits_for_the_result():
    a = jnp.ones((700, 700))
    product = jax.jit(lambda: jax.lax.fori_loop(0, 10, lambda _, x: x @ a, a))
    product()
    waited = measure_latency({"f": product}, rounds=3)["f"]
    # 7 GFLOP: no machine that dispatches and returns at once does them in this time.
    assert waited > 0.5


TOKENS = models.inputs(BertConfig(vocab_size=50))


def test_compares_models_on_every_shape():
    def forward(params, batch):
        hidden = params["table"][batch["input_ids"]] * batch["attention_mask"][..., None]
        for _ in range(params["repeat"].shape[0]):
            hidden = jnp.tanh(hidden @ params["kernel"])
        return hidden[:, 0]

    rng = np.random.default_rng(0)

    def model(repeat, size=128):
        table, kernel = rng.normal(size=(50, size)), rng.normal(size=(size, size))
        return forward, {"table": table, "kernel": kernel, "repeat": np.zeros(repeat)}

    models = {"deep": model(24), "shallow": model(1)}
    result = compare_latency(models, [(4, 64), (1, 8)], inputs=TOKENS, rounds=5, seconds=1.0)
    assert {name: list(by_shape) for name, by_shape in result.items()} == {
        "deep": ["4x64", "1x8"],
        "shallow": ["4x64", "1x8"],
    }
    assert result["deep"]["4x64"] > result["shallow"]["4x64"] > 0


def test_random_batch_stays_in_the_vocabulary():
    few = [TOKENS[0]._replace(below=7), *TOKENS[1:]]
    batch = random_batch(few, 2, 64)
    ids = np.asarray(batch["input_ids"])
    assert ids.shape == (2, 64)
    assert set(ids.ravel().tolist()) == set(range(7))
    assert batch["attention_mask"].all() and not batch["token_type_ids"].any()
    assert {x.dtype for x in batch.values()} == {jnp.dtype("int32")}
    np.testing.assert_array_equal(ids, random_batch(few, 2, 64)["input_ids"])


def test_random_pixels_are_numbers():
    """Of one shape whatever the length, and no mask."""
    pixels = Input("pixel_values", (3, 4, 4), "float32")
    batch = random_batch([pixels, Input("attention_mask", ("length",))], 2, 7)
    values = np.asarray(batch["pixel_values"])
    assert values.shape == (2, 3, 4, 4) and values.dtype == np.float32
    assert values.std() > 0.5
    assert batch["attention_mask"].shape == (2, 7) and batch["attention_mask"].all()


MINILM = BertConfig(hidden_size=384, head_dim=32, heads=(12,) * 6, intermediate=(1536,) * 6)


def test_counts_of_minilm():
    # 6 layers × (4 × 384² + 2 × 384 × 1536) weights, a multiply and an add each, 1,024 tokens.
    structure, linear = models.describe(MINILM), 2 * 1024 * 10_616_832
    assert linear_flops(structure, 8, 128) == linear
    # and 6 layers × 8 rows × 2 products of [128, 384] by [384, 128].
    assert (
        forward_flops(models.describe(MINILM), 8, 128)
        == 2 * 1024 * 10_616_832 + 6 * 8 * 2 * 2 * 128 * 128 * 384
    )


def speedup(pruned):
    return theoretical_speedup(models.describe(MINILM), models.describe(pruned), 8, 128)


def test_speedup_of_a_known_pruned_minilm():
    # The sizes that nn_pruning's hybrid pattern left of MiniLM on SST-2, 4.52 by its own count.
    pruned = MINILM.replace(heads=(3, 2, 2, 1, 1, 1), intermediate=(1046, 881, 446, 65, 14, 30))
    assert theoretical_speedup(
        models.describe(MINILM), models.describe(pruned), 8, 128
    ) == pytest.approx(4.52, abs=0.01)
    assert speedup(MINILM) == 1


def test_speedup_of_an_empty_encoder_is_infinite():
    empty = MINILM.replace(heads=(0,) * 6, intermediate=(0,) * 6)
    assert speedup(empty) == float("inf")
