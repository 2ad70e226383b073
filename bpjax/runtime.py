"""What is set once for the process: memory, compiled programs, what other libraries print."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Names and values of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLES, _HUGE_HEAP = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"

_CACHE_LIMIT = 4 * 2**30  # bytes; beyond it, what was not used for longest is removed


def configure_runtime() -> None:
    """Keeps freed memory, and compiled programs for the next start of the same run.

    Their folder is JAX_COMPILATION_CACHE_DIR where that is set (empty: none are kept), else
    `bpjax/compiled` in the user's cache folder.
    """
    keep_freed_memory()
    import jax
    from absl import logging
    from filelock import FileLock

    # Orbax's warnings, such as of a slow disk, are for its developers.
    logging.set_verbosity(logging.ERROR)

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "bpjax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", _CACHE_LIMIT)
        if os.access(folder, os.W_OK):  # neither missing nor somebody else's
            with FileLock(folder / ".lockfile"):  # jax's own
                _remove_torn(folder)


def restart_with_huge_pages() -> None:
    """Begins this program over with huge pages for its heap, where Linux gives them if asked.

    A step goes through all parameters, gradients and moments: in pages of 2 MB it takes 4 to 8%
    less time on a CPU (MiniLM, results/README.md). glibc reads the setting at a start alone. Call
    it before anything else is done; it returns where there is nothing to gain.
    """
    try:
        given, libc = _HUGE_PAGES.read_text(), os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # no Linux, or no glibc
        return
    if environment := huge_pages_environment(os.environ, given, libc):
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def huge_pages_environment(
    environment: Mapping[str, str], given: str, libc: str
) -> dict[str, str] | None:
    """The environment in which glibc asks for huge pages; None where it would change nothing.

    Args:
      environment: of this process.
      given: what Linux says of transparent huge pages, such as "always [madvise] never".
      libc: such as "glibc 2.36"; it asks since 2.35.
    """
    tunables = environment.get(_TUNABLES, "")
    kind, _, version = libc.partition(" ")
    asks = kind == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    if not asks or "[madvise]" not in given or _HUGE_HEAP in tunables:
        return None
    both = ":".join(filter(None, (tunables, f"{_HUGE_HEAP}=1")))
    return {**environment, _TUNABLES: both}


def _remove_torn(folder: Path) -> None:
    # jax writes a program and then, beside it, the time of its last use. A process that was killed
    # meanwhile leaves a program alone, of which jax would warn at every start, for good.
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("cache") + "atime").exists():
            program.unlink()


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed for the next buffer instead of giving it back to the kernel.

    A step on CPU allocates and frees hundreds of megabytes. By default each such buffer is mapped
    anew, and the kernel zeroes it page by page: up to a third of a step's time. Call it before the
    first array is made; the process then holds on to the most that it ever used.

    Returns:
      Whether it took effect; elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One heap for all threads, no separate mappings, never trimmed.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)
