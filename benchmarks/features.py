"""Features of SST-2's training rows: made, made and kept, and found again.

Command:  python -m benchmarks.features MODEL_DIR ../shared/data/glue/SST-2/train.tsv
Hardware: any CPU; a minute. MODEL_DIR is any folder with a tokenizer.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bpjax.models.tokenizer import load_tokenizer
from bpjax.tasks.glue import Glue
from bpjax.training.input import Batching, train_batches

BATCHING = Batching(32, (8, 16, 32, 64))
TRIES = 3  # in processes of their own; of each number the least counts


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--here", action="store_true", help="measure once, in this process")
    options = parser.parse_args()
    if options.here:
        print(*_measure(options.model, options.rows))
        return
    command = [sys.executable, "-m", "benchmarks.features", "--here"]
    command += [str(options.model), str(options.rows)]
    with tempfile.TemporaryDirectory() as folder:
        for case in ("not kept", "first", "cached"):
            found = []
            for number in range(TRIES):
                kept = {"not kept": "", "first": f"{folder}/{number}", "cached": f"{folder}/0"}
                environment = {**os.environ, "BPJAX_FEATURES": kept[case]}
                printed = subprocess.check_output(command, env=environment, text=True)
                found.append([float(x) for x in printed.split()])
            cpu, wall, memory, epoch = np.min(found, axis=0)
            print(
                f"{case}: {cpu:.2f} CPU s, {wall:.2f} s, {memory:.0f} MB more at the peak; "
                f"batches of an epoch {epoch:.2f} CPU s"
            )
        (path,) = Path(folder, "0").iterdir()
        print(f"file: {path.stat().st_size / 1e6:.1f} MB")


def _measure(model: Path, path: Path) -> tuple[float, float, float, float]:
    tokenizer = load_tokenizer(model)
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = [
        {"idx": i, "label": int(line[-1]), "sentence": line[:-2].encode(), "split": "train"}
        for i, line in enumerate(lines)
    ]
    task = Glue("sst2", max_length=64)
    peak, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    features = task._features(rows, tokenizer)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory, epoch = _peak() - peak, time.process_time()
    for _ in train_batches(features, BATCHING, seed=0, epochs=1):
        pass
    return cpu, wall, memory, time.process_time() - epoch


def _peak() -> float:
    """Memory of this process at its most, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


if __name__ == "__main__":
    main()
