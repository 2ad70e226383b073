"""A user's table of texts: read and tokenised, and found again in the cache.

Command:  python -m benchmarks.tables MODEL_DIR [--rows=400000] [--tokens=40]
Hardware: any CPU; some minutes. MODEL_DIR is any folder with a tokenizer. The table is made here,
of the vocabulary's own words.
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
from bpjax.tasks import get_task
from bpjax.tasks.text_table import BATCH

SUFFIXES = ("csv", "jsonl")


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument(
        "--here", choices=("tokenizer", "task"), help="measure once, in this process"
    )
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.here == "tokenizer":
        print(*_tokenize(options.model, options.table))
        return
    if options.here:
        print(*_measure(options.model, options.table))
        return
    command = [sys.executable, "-m", "benchmarks.tables", str(options.model)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BPJAX_FEATURES": f"{folder}/kept"}
        for suffix in SUFFIXES:
            table = Path(folder, f"table.{suffix}")
            _write(options.model, table, options.rows, options.tokens)
            print(f"{suffix}: {options.rows:,} rows, {table.stat().st_size / 1e6:.0f} MB")
            for case in ("tokenizer", "task", "task"):
                printed = subprocess.check_output(
                    [*command, f"--here={case}", f"--table={table}"], env=environment, text=True
                )
                seconds, cpu, memory, size = map(float, printed.split())
                print(
                    f"  {case}: {seconds:.2f} s, {cpu:.2f} CPU s, {memory:.0f} MB more at the "
                    f"peak, {size:.0f} MB of ids"
                )


def _write(model: Path, path: Path, rows: int, tokens: int) -> None:
    words = [x for x in load_tokenizer(model).get_vocab() if re.fullmatch("[a-z]{2,5}", x)]
    rng, known = np.random.default_rng(0), np.array(sorted(words), object)
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("text,label\n")
        for number in range(rows):
            text = " ".join(known[rng.integers(0, len(known), tokens - 2)])
            if path.suffix == ".csv":
                file.write(f'"{text}, {number}",class {number % 7}\n')
            else:
                file.write(f'{{"text": "{text}, {number}", "label": "class {number % 7}"}}\n')


def _tokenize(model: Path, path: Path) -> tuple[float, float, float, float]:
    """The tokenizer alone, on texts that are there, whose ids are thrown away."""
    tokenizer = load_tokenizer(model)
    texts = get_task("text", data=str(path)).read.train.rows()["text"]
    wall, cpu, ids = time.perf_counter(), time.process_time(), 0
    for start in range(0, len(texts), BATCH):
        encoded = tokenizer(
            texts.slice(start, BATCH).to_pylist(),
            truncation=True,
            max_length=128,
            return_token_type_ids=False,
            return_attention_mask=False,
        )
        ids += sum(map(len, encoded["input_ids"]))
    return time.perf_counter() - wall, time.process_time() - cpu, 0.0, 4 * ids / 1e6


def _measure(model: Path, path: Path) -> tuple[float, float, float, float]:
    tokenizer = load_tokenizer(model)
    tokenizer(["a"])
    peak, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    task = get_task("text", data=str(path))
    features = task.train(tokenizer), task.evaluation(tokenizer)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = sum(x.columns["input_ids"].values.nbytes for x in features)
    return wall, cpu, _peak() - peak, size / 1e6


def _peak() -> float:
    """Memory of this process at its most, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


if __name__ == "__main__":
    main()
