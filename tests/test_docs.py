"""What README, CONTRIBUTING and docs show is true: examples run, commands are taken."""

import pathlib
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from test_methods import scheduled
from tiny import PATTERNS, TINY, linear, make_params, pattern_of, relative, run, shrunken

from bpjax.cli import _parser
from bpjax.commands import evaluate as run_evaluate
from bpjax.config import read_config, read_task_options
from bpjax.models import bert, heads
from bpjax.models.architecture import Outputs
from bpjax.models.checkpoint import load_pretrained
from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.methods.ranking import keep_best
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection
from bpjax.pruning.surgery import shrink
from bpjax.training import terms

ROOT = pathlib.Path(__file__).resolve().parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
STRUCTURE = bert.describe(TINY)
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").rglob("*.md"))]


def example(page, first):
    """The code of the block that begins with this line."""
    found = re.search(rf"```python\n({re.escape(first)}.*?)```", page.read_text(), re.S)
    assert found, first
    return found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_named_files_are_there():
    """Paths in code marks, of the package, its tests and its configs."""
    for page in PAGES:
        text = page.read_text()
        for path in re.findall(r"`((?:bpjax|tests|configs|experiments|notebooks)/[\w./]+)`", text):
            assert (ROOT / path).exists() or path.endswith("random.py"), (page, path)


@pytest.fixture(scope="module")
def method():
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
    exec(example(CONTRIBUTING, "# bpjax/pruning/methods/random.py"), names)
    return names["random"]


def test_the_example_of_a_head_is_a_head():
    head = eval(example(CONTRIBUTING, "# a record in HEADS"), vars(heads))
    batch = {"label": jnp.array([1.0, 3.0]), "weight": jnp.array([1.0, 1.0])}
    outputs = jnp.array([[2.0], [3.0]])
    assert float(head.loss(outputs, batch)) == 0.5
    assert float(head.distill(outputs, outputs, batch, 2.0)) == 0
    assert head.outputs(7) == 1 and head.name not in heads.HEADS


def test_the_example_of_a_term_is_a_term():
    term = eval(example(CONTRIBUTING, "# a record in TERMS"), vars(terms))
    states = [jnp.zeros((1, 2, 3)), jnp.ones((1, 2, 3))]
    student, teacher = (Outputs(None, None, hidden_states=(states[0], states[i])) for i in (0, 1))
    compared = terms.Compared(student, teacher, {}, STRUCTURE, None, None, 1.0)
    assert float(term.loss(None, compared)) == 1.0
    assert term.fits(STRUCTURE, STRUCTURE) is None and term.name not in terms.TERMS


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
    smaller = shrunken(TINY, small)
    assert relative(run(smaller, small.params).logits, run(TINY, params, masked).logits) < 1e-5


def test_the_example_from_python_makes_a_smaller_model(minilm_dir, tmp_path, monkeypatch):
    del minilm_dir  # which the code names
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example(README, "import jax"), names)
    assert linear(names["smaller"]) < 0.8 * linear(names["config"])
    assert 0.4 < sum(names["densities"]) / 12 <= 0.51
    found, _ = load_pretrained(tmp_path / "smaller")
    assert found == names["smaller"]


COMMANDS = "|".join(
    ("run", "evaluate", "inspect", "benchmark", "data", "sweep", "report", "export", "config")
)


def commands():
    """Every call of bpjax in a block of a page, continued lines joined."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for block in re.findall(r"```\n(.*?)```", text, re.S):
            for line in block.splitlines():
                if call := re.search(rf"bpjax ((?:{COMMANDS})\b[^']*)", line):
                    yield call[1].strip('"').partition(" [")[0]


def test_there_are_commands():
    assert len(sorted(set(commands()))) > 15


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_taken(command):
    options, overrides = _parser().parse_known_args(shlex.split(re.sub(r"\$\w+", "0", command)))
    for name in ("config", "sweep"):
        path = getattr(options, name, None)
        assert path in (None, "CONFIG") or (ROOT / path).is_file(), command
    if getattr(options, "config", "CONFIG") != "CONFIG":
        read_config(str(ROOT / options.config), overrides)
    elif options.command is run_evaluate:
        read_task_options(options.task, overrides)
    else:
        assert not overrides, command


def test_every_module_has_its_page(tmp_path):
    """pdoc imports all of bpjax and reads every docstring; warnings are errors."""
    build = [sys.executable, "-W", "error", "-m", "pdoc", "bpjax", "!bpjax.models.bert.torch_code"]
    build.append("--docformat=google")
    subprocess.run([*build, f"--output-directory={tmp_path}"], check=True, cwd=ROOT)
    package = ROOT / "bpjax"
    for path in package.rglob("*.py"):
        name = path.relative_to(package.parent).with_suffix("")
        if name.name not in ("__init__", "__main__", "torch_code"):
            assert (tmp_path / name).with_suffix(".html").stat().st_size > 1000, name
