"""A whole run so small that tests can start, kill and repeat it."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from flax.traverse_util import unflatten_dict

from bpjax import models
from bpjax.models.bert import BertConfig
from bpjax.models.checkpoint import save_pretrained

TESTS = pathlib.Path(__file__).resolve().parent

# Of the embedded task's words; data/make_tokenizer.py makes it.
TOKENIZER = TESTS / "data" / "tokenizer"

SMALL = BertConfig(
    vocab_size=len((TOKENIZER / "vocab.txt").read_text().splitlines()),
    hidden_size=16,
    head_dim=8,
    heads=(2, 2),
    intermediate=(32, 32),
    max_positions=160,
)

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
    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.prune.start = "pretrained"
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


def save_model(folder, config=SMALL, tokenizer=TOKENIZER):
    """Saves a model of random parameters with a tokenizer (a folder; None: without)."""
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


def environment(devices=1):
    """Of a process of simulated devices that shares compiled programs with others of its kind."""
    # One that is being written by another process is compiled instead.
    torn = "ignore:Error reading persistent compilation cache entry"
    flags = os.environ["XLA_FLAGS"]
    if devices > 1:
        flags += f" --xla_force_host_platform_device_count={devices}"
    return os.environ | {"PYTHONWARNINGS": torn, "XLA_FLAGS": flags}


def start(config, workdir, *arguments, devices=1, end_by=None, at=6):
    """The program in a process of its own, on as many simulated devices.

    `end_by`: a signal that it gets after step `at` of fine-pruning, when the last checkpoint
    before that is whole: see interrupting/sitecustomize.py.
    """
    program = [sys.executable, "-m", "bpjax", "run"]
    settings = environment(devices)
    if end_by is not None:
        settings |= {"BPJAX_TESTS_SIGNAL": str(int(end_by)), "BPJAX_TESTS_STEP": str(at)}
        settings["PYTHONPATH"] = os.pathsep.join(map(str, (TESTS / "interrupting", TESTS.parent)))
    return subprocess.Popen(
        [*program, f"--config={config}", f"--workdir={workdir}", *arguments],
        cwd=TESTS.parent,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_under(folder):
    """All files with their content: equal before and after where nothing was written."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lasting(report):
    """A report without what differs from one run of the same config to the next: time, place."""
    report = json.loads(json.dumps(report))
    for key in ("seconds", "waiting", "compiling", "speedup", "command"):
        del report[key]
    for name in ("dense", "pruned"):
        del report[name]["latency_ms"]
    return report
