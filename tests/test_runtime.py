"""Freed memory is kept, on Linux with glibc; compiled programs too, unless the user says no."""

import os
import pathlib
import subprocess
import sys

import pytest

from bpjax.runtime import huge_pages_environment

PROGRAM = """
import resource
from bpjax.runtime import keep_freed_memory

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


COMPILES = """
import jax
from bpjax.runtime import configure_runtime

configure_runtime()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x + 1)(1.0)
"""


def compile_one(home, program=COMPILES, **settings):
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    command = [sys.executable, "-W", "error", "-c", program]
    subprocess.run(command, env=environment | settings, check=True)


def test_a_program_that_a_kill_left_half_written_is_written_again(tmp_path):
    compile_one(tmp_path)
    programs = (tmp_path / "bpjax" / "compiled").glob("*-cache")
    sizes = {path: path.stat().st_size for path in programs}
    assert sizes
    for path in sizes:
        os.truncate(path, 10)
        path.with_name(path.name.removesuffix("cache") + "atime").unlink()
    compile_one(tmp_path)
    assert {path: path.stat().st_size for path in sizes} == sizes
    compile_one(tmp_path, COMPILES.replace("x + 1", "x - 1"))


@pytest.mark.parametrize(
    ("chosen", "folder"), [(None, "home/bpjax/compiled"), ("chosen", "chosen"), ("", None)]
)
def test_compiled_programs_are_kept_where_the_user_says(tmp_path, chosen, folder):
    settings = {}
    if chosen is not None:
        settings["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / chosen) if chosen else ""
    compile_one(tmp_path / "home", **settings)
    found = {path.parent for path in tmp_path.rglob("*") if path.is_file()}
    assert found == ({tmp_path / folder} if folder else set())


@pytest.mark.parametrize(
    ("before", "given", "libc", "after"),
    [
        ({}, "always [madvise] never", "glibc 2.36", "glibc.malloc.hugetlb=1"),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=0"},
            "always [madvise] never",
            "glibc 2.35",
            "glibc.malloc.check=0:glibc.malloc.hugetlb=1",
        ),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
            "always [madvise] never",
            "glibc 2.36",
            None,
        ),
        ({}, "[always] madvise never", "glibc 2.36", None),
        ({}, "always madvise [never]", "glibc 2.36", None),
        ({}, "always [madvise] never", "glibc 2.31", None),
        ({}, "always [madvise] never", "", None),
    ],
)
def test_huge_pages_are_asked_for_where_they_come_by_asking(before, given, libc, after):
    found = huge_pages_environment({"HOME": "/x", **before}, given, libc)
    assert (found or {}).get("GLIBC_TUNABLES") == after
    assert found is None or found["HOME"] == "/x"


def test_the_program_begins_over_once():
    """With its own arguments, and not again where the setting is there."""
    program = "import sys; from bpjax.runtime import restart_with_huge_pages as again; again(); "
    program += "import os; print(os.environ.get('GLIBC_TUNABLES'), sys.argv[1:])"
    ours = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", program, "one", "two words"]
    found = subprocess.run(command, env=ours, capture_output=True, text=True, check=True).stdout
    setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    asked = setting.exists() and "[madvise]" in setting.read_text()
    assert found.split(maxsplit=1)[0] == ("glibc.malloc.hugetlb=1" if asked else "None")
    assert found.endswith("['one', 'two words']\n")
