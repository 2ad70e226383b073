"""Random numbers of the stages are those of the first release, however many stages there are."""

import jax
import numpy as np
import pytest

from bpjax.stages import STAGES
from bpjax.stages.base import FILL_NOISE, STREAMS, row_seed, stream
from bpjax.training.input import plan_epoch

ROWS = {
    "teacher": [14, 10, 15, 39, 19, 16, 7, 11, 4, 9],
    "prune": [6, 20, 13, 24, 7, 23, 5, 16, 0, 35],
    "fill": [17, 19, 26, 39, 32, 23, 6, 36, 28, 4],
}
KEYS = {
    "teacher": [1410583977, 344060510],
    "prune": [677216225, 3396477011],
    "fill": [460981195, 1144372815],
}


NUMBERS = {stage.name: stage.number for stage in STAGES}


@pytest.mark.parametrize("name", ROWS)
def test_order_of_rows_and_dropout_stay(name):
    seed = row_seed(17, NUMBERS[name])
    first, *_ = plan_epoch(np.full(40, 8), 10, (), seed, 0)
    assert first.rows.tolist() == ROWS[name]
    assert jax.random.key_data(stream(17, NUMBERS[name])).tolist() == KEYS[name]


def test_the_noise_of_fill_stays():
    assert jax.random.key_data(stream(17, FILL_NOISE)).tolist() == [2830441508, 3956492300]


def test_numbers_are_frozen():
    assert STREAMS == FILL_NOISE == 5
    drawn = {"teacher": 0, "prune": 1, "shrink": 2, "fill": 3, "measure": 4, "quantize": 6}
    assert drawn | {"budget": None} == NUMBERS
    assert len(set(NUMBERS.values())) == len(NUMBERS)
