"""Where numbers come from: source, versions, device and cores, for a report."""

import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

import bpjax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")

_GIT_SECONDS = 3.0
# What a processor's name says beside maker and model; its clock stays, it tells machines apart.
_FILLERS = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|\b\d+-Core\b", re.IGNORECASE)


class Source(NamedTuple):
    """Which source code ran.

    Attributes:
      commit: of the git checkout that the package lies in; None where it was installed without.
      dirty: whether tracked files of the package differ from that commit; None without a commit.
    """

    commit: str | None = None
    dirty: bool | None = None


def describe_environment() -> dict[str, Any]:
    """The commit of bpjax, versions of what matters, the device and the usable CPU cores."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {"bpjax": bpjax.__version__}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        **find_source(pathlib.Path(bpjax.__file__).parent)._asdict(),
        "platform": platform.platform(),
        "backend": device.platform,
        "device": _processor() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "cores": count_cores(),
    }


def find_source(package: pathlib.Path) -> Source:
    """The commit that a package's files belong to, asked of git; nothing where git cannot tell.

    A package that was merely installed inside some other project's checkout is not tracked there,
    and has no commit.

    Args:
      package: the folder with its `__init__.py`.
    """
    told = _git(package, "ls-files", "--error-unmatch", "__init__.py") and _git(
        package, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", "."
    )
    lines = (told or "").splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if not commits or commits == ["(initial)"]:
        return Source()
    return Source(commits[0], dirty=any(not line.startswith("#") for line in lines))


def name_machine(environment: Mapping[str, Any]) -> str:
    """What speeds were measured on, in a few words: "AMD EPYC, 2 cores", "2 x NVIDIA H100".

    Args:
      environment: of a report, see `describe_environment`.
    """
    device, cores = environment.get("device"), environment.get("cores")
    name = " ".join(_FILLERS.sub(" ", device or "").split())
    if environment.get("backend", "cpu") != "cpu":
        count = environment.get("devices", 1)
        return f"{count} x {name}" if count > 1 else name
    counted = "" if cores is None else f"{cores} core{'s'[: cores != 1]}"
    return ", ".join(part for part in (name, counted) if part) or "not recorded"


def count_cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """What git prints about the repository around `folder`; None where it fails or hesitates."""
    # A hook's variables would name another repository; without locks nothing is written.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout


def _processor() -> str:
    # The platform module names only the architecture on Linux.
    listing = pathlib.Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
