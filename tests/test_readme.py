"""What the README shows is true: the example of a method is a method."""

import pathlib
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from test_methods import scheduled
from tiny import PATTERNS, TINY, make_params, pattern_of, relative, run

from bpjax.cli import _parser
from bpjax.commands import evaluate as run_evaluate
from bpjax.config import read_config, read_task_options
from bpjax.models import bert
from bpjax.models.checkpoint import load_pretrained
from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.methods.ranking import keep_best
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection
from bpjax.pruning.surgery import shrink

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def method():
    code = re.search(
        r"```python\n# bpjax/pruning/methods/random.py\n(.*?)```", README.read_text(), re.S
    )
    names = {
        "jax": jax,
        "jnp": jnp,
        "keep_best": keep_best,
        "Method": Method,
        "MethodState": MethodState,
        "Pattern": Pattern,
        "keep_state": keep_state,
        "no_penalty": no_penalty,
    }
    exec(code[1], names)
    return names["random"]


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_the_example_of_a_method_prunes_and_shrinks(method, name, block):
    pattern, params = pattern_of(name, block), make_params()
    made = method(pattern)
    state = made.init(jax.random.key(0), params)
    values = jax.jit(made.masks)(state, params, scheduled(density=0.4), None)
    for group in pattern.groups:
        assert int(values[group.name].sum()) == int(0.4 * values[group.name].size)
    masked = build_mask_collection(pattern, values)
    small = shrink(apply_masks(params, masked), bert.describe(TINY))
    smaller = TINY.replace(heads=small.heads, intermediate=small.intermediate)
    assert relative(run(smaller, small.params).logits, run(TINY, params, masked).logits) < 1e-5


def test_the_example_from_python_makes_a_smaller_model(minilm_dir, tmp_path, monkeypatch):
    del minilm_dir  # which the code names
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(import jax\n.*?)```", README.read_text(), re.S)
    names = {}
    exec(code[1], names)
    assert names["smaller"].linear_parameters() < 0.8 * names["config"].linear_parameters()
    assert 0.4 < sum(names["densities"]) / 6 <= 0.51
    found, _ = load_pretrained(tmp_path / "smaller")
    assert found.heads == names["small"].heads


COMMANDS = "|".join(
    ("run", "evaluate", "inspect", "benchmark", "data", "sweep", "report", "export", "config")
)


def commands():
    """Every call of bpjax in a block of the README, continued lines joined."""
    text = README.read_text().replace("\\\n", " ")
    for block in re.findall(r"```\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if call := re.search(rf"bpjax ((?:{COMMANDS}) [^']*)", line):
                yield call[1].strip('"').partition(" [")[0]


def test_there_are_commands():
    assert len(list(commands())) > 15


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_taken(command):
    options, overrides = _parser().parse_known_args(shlex.split(re.sub(r"\$\w+", "0", command)))
    for name in ("config", "sweep"):
        path = getattr(options, name, None)
        assert path in (None, "CONFIG") or (README.parent / path).is_file(), command
    if getattr(options, "config", "CONFIG") != "CONFIG":
        read_config(str(README.parent / options.config), overrides)
    elif options.command is run_evaluate:
        read_task_options(options.task, overrides)
    else:
        assert not overrides, command


def test_every_module_has_its_page(tmp_path):
    """pdoc imports all of bpjax and reads every docstring; warnings are errors."""
    build = [sys.executable, "-W", "error", "-m", "pdoc", "bpjax", "!bpjax.models.bert.torch_code"]
    build.append("--docformat=google")
    subprocess.run([*build, f"--output-directory={tmp_path}"], check=True, cwd=README.parent)
    package = README.parent / "bpjax"
    for path in package.rglob("*.py"):
        name = path.relative_to(package.parent).with_suffix("")
        if name.name not in ("__init__", "__main__", "torch_code"):
            assert (tmp_path / name).with_suffix(".html").stat().st_size > 1000, name
