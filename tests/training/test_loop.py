"""The loop: an interrupted stage ends as an uninterrupted one; scalars, checkpoints, NaN."""

import functools
import itertools
import json
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import refused
from jax.experimental import multihost_utils
from test_step import (
    DENSE,
    OPTIMIZER,
    SOFT,
    STILL,
    make_batch,
    step_of,
)
from tiny import make_params

from bpjax.errors import Interrupted
from bpjax.tasks.base import Features
from bpjax.training import loop
from bpjax.training.checkpoints import Checkpoints
from bpjax.training.compiling import watch_compiling
from bpjax.training.evaluation import forward, predict
from bpjax.training.input import Batching, eval_batches
from bpjax.training.loop import fit
from bpjax.training.scalars import Scalars, read_scalars
from bpjax.training.state import init_state

BATCHES = [make_batch(seed=i) for i in range(8)]


def start_state():
    return init_state(make_params(STILL), SOFT, OPTIMIZER, jax.random.key(3))


def train(workdir, batches=lambda start: BATCHES[start:], **changes):
    options = dict(
        steps=8,
        evaluate=lambda state: {"metric": float(state.params["head"]["bias"].sum())},
        evaluate_every=4,
        checkpoint_every=2,
        log_every=1,
    )
    return fit("prune", start_state(), step_of(SOFT), batches, workdir=workdir, **options | changes)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a test moves it; it is 50 at the start."""

    class Clock:
        now = 50.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


class StopError(Exception):
    pass


def stopping_after(count):
    def batches(start):
        yield from itertools.islice(BATCHES[start:], count)
        raise StopError

    return batches


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, its last state as numpy, its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    fitted = train(folder)
    return folder, as_numpy(fitted.state), fitted.seconds


def as_numpy(state):
    state = state._replace(rng=jax.random.key_data(state.rng))
    return jax.tree.map(np.array, state)


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("stops", [(5,), (1,), (2, 3), (6,)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, whole, stops):
    for count in stops:
        with pytest.raises(StopError):
            train(tmp_path, stopping_after(count))
    seen = []

    def batches(start):
        seen.append(start)
        return BATCHES[start:]

    state = train(tmp_path, batches).state
    assert seen == [{(5,): 4, (1,): 0, (2, 3): 4, (6,): 6}[stops]]
    assert_same(as_numpy(state), whole[1])
    assert read_scalars(tmp_path) == read_scalars(whole[0])


def test_a_restored_state_is_not_compiled_anew(tmp_path):
    with pytest.raises(StopError):
        train(tmp_path, stopping_after(3))
    compiled = step_of(SOFT).compilations()
    train(tmp_path)
    assert step_of(SOFT).compilations() == compiled


def test_what_is_logged_when(tmp_path):
    fitted = train(tmp_path, log_every=3)
    rows = read_scalars(tmp_path)
    assert [row["step"] for row in rows if "loss" in row] == [3, 6, 8]
    assert [row["step"] for row in rows if "metric" in row] == [4, 8]
    assert fitted.metrics == {"metric": rows[-1]["metric"]}
    assert {"task_loss", "penalty", "density", "threshold", "gradient_norm"} <= set(rows[0])
    assert all(row["stage"] == "prune" for row in rows)
    assert list((tmp_path / "tensorboard" / "prune").glob("events*"))


def test_the_bar_shows_loss_and_density(tmp_path, capsys):
    train(tmp_path, log_every=2)
    printed = capsys.readouterr().out
    last = printed.replace("\r", "\n").strip().splitlines()[-1]
    assert "loss=" in last and "density=" in last and "8/8" in last
    assert "prune step 4: metric" in printed


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, log_every):
    spoilt = [*BATCHES[:2], BATCHES[2] | {"weight": jnp.full(3, jnp.nan)}, *BATCHES[3:]]
    with refused(r"loss is nan, expected a finite number \(step 2 is saved\); lower the stage's"):
        train(tmp_path, lambda start: spoilt[start:], log_every=log_every)
    checkpoints = Checkpoints(tmp_path / "prune" / "checkpoints")
    state, _ = checkpoints.restore(start_state())
    checkpoints.close()
    assert int(state.step) == 2
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_seconds_are_counted_over_all_starts(tmp_path, clock):
    def batches(start):
        for batch in BATCHES[start:]:
            clock.now += 2.0
            yield batch

    checkpoints = Checkpoints(tmp_path / "prune" / "checkpoints")
    checkpoints.save(start_state(), 1000.0)
    checkpoints.close()
    assert train(tmp_path, batches).seconds == 1000.0 + 8 * 2.0


def test_a_checkpoint_holds_the_whole_state(tmp_path):
    state, _ = step_of(SOFT)(start_state(), BATCHES[0])
    before = as_numpy(state)
    checkpoints = Checkpoints(tmp_path / "a", keep=1)
    assert checkpoints.restore(start_state())[1] == 0.0  # nothing there yet
    checkpoints.save(state, 2.5)
    checkpoints.save(state, 3.5)  # the same step again changes nothing
    step_of(SOFT)(state, BATCHES[1])  # takes the buffers away, which must be copied by now
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "a")
    restored, seconds = checkpoints.restore(start_state())
    checkpoints.close()
    assert seconds == 2.5
    assert_same(as_numpy(restored), before)
    assert restored.rng.dtype == state.rng.dtype


def test_a_checkpoint_that_a_kill_left_unfinished_is_replaced(tmp_path, caplog):
    step = int(start_state().step)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(start_state(), 1.0)
    checkpoints.close()
    (tmp_path / str(step)).rename(tmp_path / f"{step}.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(start_state())[1] == 0.0
    checkpoints.save(start_state(), 2.0)
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == [str(step)]
    assert not caplog.records


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "zeroed", "missing"],
)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, whole, capsys, spoil):
    with pytest.raises(StopError):
        train(tmp_path, stopping_after(5))  # saved: 2 and 4
    newest = tmp_path / "prune" / "checkpoints" / "4"
    earlier = tmp_path / "prune" / "damaged_checkpoint_4" / "earlier"  # start's
    earlier.mkdir(parents=True)
    for path in list(newest.rglob("*")):
        if path.is_file():
            spoil(path)
    seen = []

    def batches(start):
        seen.append(start)
        return BATCHES[start:]

    assert_same(as_numpy(train(tmp_path, batches).state), whole[1])
    assert seen == [2]
    printed = capsys.readouterr().out
    kept = tmp_path / "prune" / "damaged_checkpoint_4"
    assert f"{newest}: damaged (" in printed and f"now {kept}; going on" in printed
    assert kept.is_dir() and not earlier.exists()


def test_a_checkpoint_that_another_process_cannot_read_is_set_aside_here_too(
    tmp_path, whole, capsys, monkeypatch
):
    with pytest.raises(StopError):
        train(tmp_path, stopping_after(5))  # saved: 2 and 4
    theirs = iter([False, True])
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda ours: np.stack([ours, next(theirs)])
    )
    assert_same(as_numpy(train(tmp_path, lambda start: BATCHES[start:]).state), whole[1])
    assert (tmp_path / "prune" / "damaged_checkpoint_4").is_dir()
    assert "damaged (another process cannot read it), now" in capsys.readouterr().out


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    with pytest.raises(StopError):
        train(tmp_path, stopping_after(3))
    other = init_state(make_params(STILL), DENSE, OPTIMIZER, jax.random.key(3))
    checkpoints = Checkpoints(tmp_path / "prune" / "checkpoints")
    with refused("expected None: the checkpoint of another model or method; remove it"):
        checkpoints.restore(other)
    checkpoints.close()
    assert (tmp_path / "prune" / "checkpoints" / "2").is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_between_two_steps(tmp_path, whole, number):
    before = signal.getsignal(number)

    def batches(start):
        for i, batch in enumerate(BATCHES[start:], start=start):
            if i == 4:
                os.kill(os.getpid(), number)
            yield batch

    with pytest.raises(Interrupted, match="prune step 5: saved; the same command goes on"):
        train(tmp_path, batches)
    assert signal.getsignal(number) == before
    assert_same(as_numpy(train(tmp_path).state), whole[1])
    assert read_scalars(tmp_path) == read_scalars(whole[0])


def test_waiting_for_data_is_told(tmp_path, clock):
    def batches(start):
        for batch in BATCHES[start:]:
            clock.now += 3.0
            yield batch

    def evaluate(state):  # twice; data is not waited for meanwhile
        clock.now += 4.0
        return {"metric": 0.0}

    fitted = train(tmp_path, batches, evaluate=evaluate)
    assert fitted.seconds == 8 * 3.0 + 2 * 4.0
    assert fitted.waiting == 8 * 3.0 / fitted.seconds


def test_compiling_is_told(tmp_path):
    """Not that of other programs of the process; a traced function within another counts once."""

    def batches(start):
        jax.monitoring.record_event_time_span("/jax/another/event", 0.0, 1000.0)
        for start, end in ((5.0, 6.0), (4.0, 7.0), (7.0, 9.0)):
            jax.monitoring.record_event_time_span("/jax/core/compile/any", start, end)
        yield from BATCHES

    before = time.perf_counter()
    fitted = train(tmp_path, batches)
    assert 4.99 < fitted.compiling * fitted.seconds < 5.01 + time.perf_counter() - before
    with watch_compiling() as compiled:
        assert compiled() == 0
        jax.jit(lambda x: x + 1).lower(1.0).compile()
        assert compiled() > 0


def test_scalars_drop_what_a_run_cut_short_had_logged(tmp_path):
    scalars = Scalars(tmp_path, "teacher", 0)
    scalars.write(9, {"loss": 1.0})
    scalars.close()
    scalars = Scalars(tmp_path, "prune", 0)
    for step in (1, 2, 3):
        scalars.write(step, {"loss": float(step)})
    scalars.close()
    with (tmp_path / "scalars.jsonl").open("a") as file:
        file.write('{"stage": "prune", "step": 4, "lo')  # killed in the middle of a line
    assert [row["step"] for row in read_scalars(tmp_path)] == [9, 1, 2, 3]
    scalars = Scalars(tmp_path, "prune", 2)
    scalars.write(3, {"loss": 30.0})
    scalars.close()
    lines = (tmp_path / "scalars.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [1.0, 1.0, 2.0, 30.0]


def test_predictions_are_in_the_order_of_the_rows_and_without_padding():
    config = STILL.replace(head="span", num_labels=2)
    params = make_params(config)
    generator = np.random.default_rng(0)
    rows = [
        {
            "input_ids": generator.integers(0, 20, length).astype(np.int32),
            "token_type_ids": np.zeros(length, np.int32),
        }
        for length in (5, 2, 8, 2)
    ]
    features = Features.of(rows, rows)
    found = predict(config, params, eval_batches(features, Batching(2, (4, 8))), None)
    assert [x.shape for x in found] == [(5, 2), (2, 2), (8, 2), (2, 2)]
    alone_logits = jax.jit(functools.partial(forward, config))
    for row, logits in zip(rows, found, strict=True):
        alone = {name: jnp.asarray(x)[None] for name, x in row.items()}
        alone["attention_mask"] = jnp.ones_like(alone["input_ids"])
        np.testing.assert_allclose(logits, alone_logits(params, alone)[0], atol=1e-5)
    # A classifier's logits are rows of labels, however long the text.
    found = predict(STILL, make_params(STILL), eval_batches(features, Batching(2)), None)
    assert [x.shape for x in found] == [(3,)] * 4
