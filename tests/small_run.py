"""A whole run so small that tests can start, kill and repeat it."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from flax.traverse_util import unflatten_dict

from bpjax import models
from bpjax.models.bert import BertConfig
from bpjax.models.checkpoint import save_pretrained

SMALL = BertConfig(
    hidden_size=16,
    head_dim=8,
    heads=(2, 2),
    intermediate=(32, 32),
    max_positions=160,
)

# Most of a small run's time is compilation: less of it, and each program once for all processes.
COMPILATION = {
    "jax_disable_most_optimizations": True,
    "jax_persistent_cache_min_compile_time_secs": 0,
}

# 10 steps of the teacher, 30 of fine-pruning, 10 of filling; batches of one shape.
CONFIG = """
from bpjax.config import default_config

def get_config():
    config = default_config(task="embedded")
    config.model.source = {source!r}
    config.task.train_size, config.task.eval_size = 160, 60
    config.batch.size = 16
    config.batch.eval_size = 30
    for stage in (config.teacher, config.prune, config.fill):
        stage.epochs, stage.warmup_steps, stage.learning_rate = 1, 2, 1e-3
    config.prune.epochs = 3
    config.prune.score_learning_rate = 0.1
    config.pruning.movement.binarizer = "top_k"
    config.pruning.block = (8, 8)
    config.budget.kind = "density"
    config.budget.value = 0.5
    config.measure.shapes = ("1x16", "2x16")
    config.measure.rounds = 3
    config.log_every = 1
    config.checkpoint_every = 4
    return config
"""


def save_model(folder, tokenizer, config=SMALL):
    """Saves a model of random parameters with a tokenizer (a folder, or None for no tokenizer)."""
    generator = np.random.default_rng(1)

    def draw(path, shape):
        if path.endswith(("bias", "scale")):
            return np.full(shape, float(path.endswith("scale")), np.float32)
        return generator.normal(scale=0.05, size=shape).astype(np.float32)

    params = {
        path: draw(path, tensor.shape)
        for path, tensor in models.architecture(config).tensors(config).items()
    }
    return save_pretrained(folder, config, unflatten_dict(params, sep="/"), tokenizer)


def write_config(path, source):
    path.write_text(CONFIG.format(source=str(source)))
    return path


def environment(cache):
    """Of a process that shares compiled steps with others in `cache`, as all of a user's do."""
    settings = {name.upper(): str(value) for name, value in COMPILATION.items()}
    found = os.environ | settings | {"XDG_CACHE_HOME": str(cache)}
    del found["JAX_COMPILATION_CACHE_DIR"]
    return found


def start(config, workdir, cache, *arguments, devices=1):
    """The program in a process of its own, on as many simulated devices."""
    program = [sys.executable, "-m", "bpjax", "run"]
    simulated = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen(
        [*program, f"--config={config}", f"--workdir={workdir}", *arguments],
        cwd=pathlib.Path(__file__).resolve().parents[1],
        env=environment(cache) | (simulated if devices > 1 else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process, condition, seconds=240):
    """Waits for something that a running process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early: {process.stderr.read()}"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def files_under(folder):
    """All files with their content: equal before and after where nothing was written."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lasting(report):
    """A report without what differs from one run of the same config to the next: time, place."""
    report = json.loads(json.dumps(report))
    for key in ("seconds", "waiting", "speedup", "command"):
        del report[key]
    for name in ("dense", "pruned"):
        del report[name]["latency_ms"]
    return report
