"""The cubic schedule at its edges and between."""

import jax
import numpy as np
import pytest

from bpjax.pruning.schedules import cubic

# Holds until step 10 and after step 80.
OPTIONS = dict(steps=100, warmup_steps=10, initial_warmup=1, final_warmup=2)
PAPER = dict(steps=100_000, warmup_steps=5400, initial_warmup=1, final_warmup=10)


@pytest.fixture(scope="module")
def scheduled():
    schedule = cubic(**OPTIONS, threshold=(0, 0.1), density=(1, 0.2), penalty=20)
    return jax.jit(schedule)


@pytest.mark.parametrize("step", [0, 1, 9, 10])
def test_holds_the_initial_values(scheduled, step):
    assert tuple(map(float, scheduled(step))) == (0.0, 0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("step", [80, 81, 99, 100, 1000])
def test_holds_the_final_values(scheduled, step):
    assert tuple(scheduled(step)) == (np.float32(0.1), 20.0, np.float32(0.2), 1.0, 0.0)


@pytest.mark.parametrize("step", [11, 27, 45, 60, 79])
def test_moves_by_the_cubic_between(scheduled, step):
    cube = (1 - (step - 10) / (100 - 3 * 10)) ** 3
    tau, penalty, density, progress, _ = scheduled(step)
    np.testing.assert_allclose(tau, 0.1 - 0.1 * cube, rtol=1e-5)
    np.testing.assert_allclose(penalty, 20 * (0.1 - 0.1 * cube) / 0.1, rtol=1e-5)
    np.testing.assert_allclose(density, 0.2 + 0.8 * cube, rtol=1e-5)
    np.testing.assert_allclose(progress, (step - 10) / (100 - 3 * 10), rtol=1e-5)


def test_leaves_the_holds_at_the_next_step(scheduled):
    assert float(scheduled(11).threshold) > 0
    assert float(scheduled(79).threshold) < np.float32(0.1)


def test_the_paper_s_schedule_of_squad():
    scheduled = cubic(**PAPER)
    assert float(scheduled(5400).threshold) == 0 < float(scheduled(5401).threshold)
    assert float(scheduled(46_001).threshold) == np.float32(0.1)
    np.testing.assert_allclose(float(scheduled(25_700).threshold), 0.0875, rtol=1e-6)


@pytest.mark.parametrize("final", [0.05, 0.3, 0.7, 0.9])
def test_is_exact_at_both_ends(final):
    scheduled = cubic(**OPTIONS, density=(1.0, final), threshold=(final, 1.0))
    assert (scheduled(0).density, scheduled(100).density) == (1.0, np.float32(final))
    assert (scheduled(0).threshold, scheduled(100).threshold) == (np.float32(final), 1.0)


def test_the_penalty_stays_when_the_threshold_ends_at_zero():
    scheduled = cubic(**OPTIONS, threshold=(0.0, 0.0), penalty=3.0)
    assert float(scheduled(0).penalty) == float(scheduled(100).penalty) == 3.0


def test_steps_are_traced():
    traced, scheduled = [], cubic(**OPTIONS)

    @jax.jit
    def compiled(step):
        traced.append(step)
        return scheduled(step)

    for step in range(5):
        compiled(np.int32(step))
    assert len(traced) == 1


def test_without_holds_it_moves_from_the_first_step_to_the_last():
    scheduled = cubic(steps=10, warmup_steps=3, initial_warmup=0, final_warmup=0)
    taus = [float(scheduled(step).threshold) for step in range(11)]
    assert taus == sorted(set(taus))
    assert (taus[0], taus[-1]) == (0.0, np.float32(0.1))


@pytest.mark.parametrize("final_warmup", [9, 9.5, 20])
def test_refuses_holds_that_leave_no_steps(final_warmup):
    with pytest.raises(ValueError, match="schedule of 100 steps: held until step 10 and again"):
        cubic(steps=100, warmup_steps=10, initial_warmup=1, final_warmup=final_warmup)
