"""What is set once for the process: memory, compiled programs, what other libraries print."""

import ctypes
import os
import sys
from pathlib import Path

# Names and values of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

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
