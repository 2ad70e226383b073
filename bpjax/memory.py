"""How the C library keeps memory: the part of a step's time on CPU that no array shows."""

import ctypes
import sys

# Names and values of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


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
