"""Freed memory is kept, on Linux with glibc, and asked for before anything is computed."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from bpjax.memory import keep_freed_memory

assert keep_freed_memory() is True
import numpy as np

def faults():
    for _ in range(3):
        np.ones(10_000_000).sum()  # 80 MB, more than glibc keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(10_000_000).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_buffers_are_not_mapped_anew():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) < 100  # ten times 80 MB in pages of 4 KB would be 195,000
