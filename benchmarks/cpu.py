"""bpjax on this CPU beside PyTorch, torch.compile and ONNX Runtime, in one run.

Command:  make bench            (python -m benchmarks.cpu)
Hardware: 2 CPU cores without other work; about 15 minutes.

The peers' threads must not spin while they wait (OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0, which
`make bench` sets): libraries that take turns in one process otherwise share the cores.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from benchmarks.inference import time_inference
from benchmarks.machine import gemm_gflops
from benchmarks.training import time_training
from bpjax.report.environment import count_cores, describe_environment
from bpjax.report.table import align
from bpjax.runtime import configure_runtime


def main() -> None:
    """Measures, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/bench/cpu.json"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=40.0, help="for one shape of one model")
    options = parser.parse_args()

    configure_runtime()
    torch.set_num_threads(count_cores())
    limits = {"rounds": options.rounds, "seconds": options.seconds}
    gemm = gemm_gflops()
    environment = describe_environment()
    environment["versions"] |= {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    report = {
        "gemm_gflops": gemm,
        "gemm_gflops_bfloat16": gemm_gflops("bfloat16"),
        "environment": environment,
        "inference": time_inference(gemm, **limits),
        "training": time_training(**limits),
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n")
    print(format_table(report))


def format_table(report: dict[str, Any]) -> str:
    """Ratios first: above 1 is faster than the peer."""
    inference = [
        ("model", "", "shape", "/torch", "/compile", "/ort", "of gemm", "speedup", "theory", "ms")
    ] + [
        (
            row["model"],
            row["variant"],
            row["shape"],
            f"{row['ratio_torch']:.2f}",
            f"{row['ratio_compile']:.2f}",
            f"{row['ratio_ort']:.2f}",
            f"{row['share_of_gemm']:.0%}",
            f"{row['speedup']:.2f}",
            f"{row['theoretical_speedup']:.2f}",
            f"{row['ms']:.1f}",
        )
        for row in report["inference"]
    ]
    training = [
        ("model", "shape", "products", "/torch", "masked/torch", "masked/plain", "plain ms")
    ] + [
        (
            row["model"],
            row["shape"],
            row["dtype"].removesuffix("_products"),
            f"{row['ratio_torch']:.2f}",
            f"{row['ratio_torch_masked']:.2f}",
            f"{row['masked_over_plain']:.2f}",
            f"{row['plain_ms']:.0f}",
        )
        for row in report["training"]
    ]
    head = f"matrix products: {report['gemm_gflops']:.0f} GFLOP/s in float32\n\n"
    return head + align(inference, left=(0, 1)) + "\n\n" + align(training, left=(0, 2))


if __name__ == "__main__":
    main()
