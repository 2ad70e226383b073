"""Where numbers come from: versions, device and cores, for a report."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import jax

import bpjax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")


def describe_environment() -> dict[str, Any]:
    """Versions of Python and the packages that matter, the device and the usable CPU cores."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {"bpjax": bpjax.__version__}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "backend": device.platform,
        "device": _processor() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "cores": count_cores(),
    }


def count_cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    # The platform module names only the architecture on Linux.
    listing = pathlib.Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
