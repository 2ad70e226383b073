"""What README, CONTRIBUTING and docs show is true: examples run, commands are taken."""

import inspect
import pathlib
import re
import shlex
import subprocess
import sys
import time
import types
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bart
from small_run import TOKENIZER
from test_methods import scheduled
from tiny import PATTERNS, TINY, linear, make_params, pattern_of, relative, run, shrunken

import bpjax
from bpjax import pruning
from bpjax.cli import _parser
from bpjax.commands import evaluate as run_evaluate
from bpjax.commands import predict as run_predict
from bpjax.config import read_config, read_task_options, validate
from bpjax.exports import formats, huggingface
from bpjax.generation import generate
from bpjax.models import bert, describe, heads
from bpjax.models.architecture import Outputs
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.generation import Generation
from bpjax.models.sources import WEIGHTS
from bpjax.models.tokenizer import load_tokenizer
from bpjax.prediction.settings import read_settings
from bpjax.pruning import costs, patterns
from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.methods.ranking import keep_best
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection
from bpjax.pruning.summary import summarize
from bpjax.pruning.surgery import shrink
from bpjax.stages import fill
from bpjax.stages.opened import Opened
from bpjax.tasks import base
from bpjax.tasks.columns import Column
from bpjax.training import terms
from bpjax.training.input import Batching, eval_batches

ROOT = pathlib.Path(__file__).resolve().parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
STRUCTURE = bert.describe(TINY)
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").rglob("*.md"))]


def example(page, first):
    """The code of the block that begins with this line."""
    found = [text for text in blocks(page, "python") if text.startswith(first)]
    assert len(found) == 1, first
    return found[0]


def blocks(page, language):
    """The contents of the fenced blocks of a page."""
    found = re.findall(r"^```(.*?)\n(.*?)^```", page.read_text(), re.S | re.M)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_links_into_pages_have_their_heading():
    for page in PAGES:
        for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
            target = (page.parent / file).read_text() if file else page.read_text()
            titles = re.findall(r"^#+ (.*)", target, re.M)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, (page, anchor)


EXAMPLES = {
    (README, "import bpjax"),
    (ROOT / "docs/how-to/exports.md", "# greedy search with the programs of a folder"),
    (ROOT / "docs/how-to/own-model.md", "import jax"),
    (ROOT / "docs/reference/config.md", "# my_config.py"),
    (CONTRIBUTING, "# a record in HEADS: rows are told from 1 to n by their first output alone"),
    (CONTRIBUTING, "# a record in TERMS: the last states alone"),
    (CONTRIBUTING, "# an architecture's approximations"),
    (CONTRIBUTING, "# bpjax/stages/round.py"),
    (CONTRIBUTING, "# bpjax/pruning/methods/random.py"),
    (CONTRIBUTING, "# bpjax/tasks/longer.py"),
    (CONTRIBUTING, "# bpjax/pruning/patterns.py"),
    (CONTRIBUTING, "# bpjax/exports/arrays.py"),
    (CONTRIBUTING, "# bpjax/pruning/costs.py"),
}
"""All code in Python: each has its test below."""


def test_every_example_has_a_test():
    found = [(page, x.partition("\n")[0]) for page in PAGES for x in blocks(page, "python")]
    assert len(found) == len(EXAMPLES) and set(found) == EXAMPLES


def test_make_has_what_is_asked_of_it():
    made = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    asked = {name for page in PAGES for name in re.findall(r"[`\n]make (\w+)", page.read_text())}
    assert len(asked) > 4 and asked <= made


def test_named_files_are_there():
    """Paths in code marks, of the package, its tests and its configs."""
    for page in PAGES:
        text = page.read_text()
        folders = "bpjax|tests|configs|experiments|notebooks|results"
        for path in re.findall(rf"`((?:{folders})/[\w./]+)`", text):
            assert (ROOT / path).exists(), (page, path)


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
    student, teacher = (Outputs(None, None, hidden_states={"layer_1": x}) for x in states)
    compared = terms.Compared(student, teacher, {}, STRUCTURE, None, None, 1.0)
    assert float(term.loss(None, compared)) == 1.0
    assert term.fits(STRUCTURE, STRUCTURE) is None and term.name not in terms.TERMS


def test_the_example_of_a_stage_is_a_stage(small_model, tmp_path):
    names = vars(fill) | {"jax": jax, "time": time}
    exec(example(CONTRIBUTING, "# bpjax/stages/round.py"), names)
    inputs = types.SimpleNamespace(opened=Opened(), tokenizer=None)
    notes = names["ROUND"].run(inputs, None, {"model": small_model}, tmp_path)
    assert notes["seconds"] >= 0 and names["ROUND"].artefact(tmp_path) == tmp_path / "model"
    before, after = (load_pretrained(x, head="saved")[1] for x in (small_model, tmp_path / "model"))
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    assert any((x != y).any() for x, y in pairs)
    assert all(jnp.allclose(x, y, rtol=1e-2) for x, y in pairs)


def test_the_example_of_a_task_is_a_task():
    names = vars(base) | {"Column": Column, "ClassVar": ClassVar}
    exec(example(CONTRIBUTING, "# bpjax/tasks/longer.py"), names)
    task = names["Longer"](size=12)
    assert isinstance(task, base.Task) and task.head in heads.HEADS
    features = task.evaluation(load_tokenizer(TOKENIZER))
    batch = next(iter(eval_batches(features, Batching(4))))
    assert batch["input_ids"].shape == batch["token_type_ids"].shape
    assert 0 < batch["label"].sum() < 4 or len(set(features.examples)) == 2
    right = [jnp.eye(2)[label] for label in features.examples]
    assert task.evaluate(features, right) == {"accuracy": 100.0}


def test_the_example_of_a_pattern_is_a_pattern(monkeypatch):
    names = dict(vars(patterns))
    exec(example(CONTRIBUTING, "# bpjax/pruning/patterns.py"), names)
    monkeypatch.setitem(patterns.PATTERNS, "layers", names["_layers"])
    pattern, params = pattern_of("layers", (1, 1)), make_params()
    values = {group.name: jnp.zeros(group.shape) for group in pattern.groups}
    values["layer_1/ffn"] = jnp.ones(1)
    masked = build_mask_collection(pattern, values)
    small = shrink(apply_masks(params, masked), STRUCTURE)
    assert small.sizes.units == dict.fromkeys(values, 0) | {"layer_1/ffn": TINY.intermediate[1]}
    found = run(shrunken(TINY, small), small.params).logits
    assert relative(found, run(TINY, params, masked).logits) < 1e-5


def test_the_example_of_approximations_is_that_of_bert():
    code = example(CONTRIBUTING, "# an architecture's approximations")
    assert eval(code) == bert.ARCHITECTURE.approximations


def test_the_example_of_a_format_is_a_format(small_model, tmp_path, monkeypatch):
    names = vars(huggingface) | {"Format": formats.Format, "WEIGHTS": WEIGHTS}
    exec(example(CONTRIBUTING, "# bpjax/exports/arrays.py"), names)
    monkeypatch.setitem(formats.FORMATS, "arrays", names["ARRAYS"])
    config, params = load_pretrained(small_model, head="saved")
    formats.export("arrays", config, params, small_model, tmp_path / "out")
    arrays = np.load(tmp_path / "out" / "model.npz")
    assert len(arrays.files) == len(jax.tree.leaves(params))
    assert not (tmp_path / "out" / WEIGHTS).exists()


def test_the_example_of_greedy_search_writes_as_bpjax(tmp_path, monkeypatch):
    quick = formats.FORMATS["stablehlo"]._replace(open=None)  # tests/export compares
    monkeypatch.setitem(formats.FORMATS, "stablehlo", quick)
    config, params = tiny_bart.make_writer(tiny_bart.ragged(tiny_bart.KINDS["pegasus"]))
    formats.export("stablehlo", config, params, tmp_path, tmp_path / "out")
    names = {"jax": jax, "np": np}
    page = ROOT / "docs/how-to/exports.md"
    exec(example(page, "# greedy search with the programs of a folder"), names)
    settings = config.generation.replace(
        max_length=8, eos_token_id=(20,), no_repeat_ngram_size=0, forced_eos_token_id=()
    )
    for sources in ((5, 3, 7), (2,)):
        batch = tiny_bart.make_batch(sources, sources, 40)
        expected = generate(config, {"params": params}, batch, settings).tokens
        given = np.asarray(batch["input_ids"]), np.asarray(batch["attention_mask"])
        found = names["write"](tmp_path / "out", *given, 2, 20, 1, 8)
        np.testing.assert_array_equal(found, expected)


def test_the_example_of_a_cost_counts_units():
    names = dict(vars(costs))
    exec(example(CONTRIBUTING, "# bpjax/pruning/costs.py"), names)
    units = {x.name: x.units for x in STRUCTURE.sublayers}
    assert float(names["unit_cost"](STRUCTURE).total(units)) == sum(units.values())


def test_the_example_of_a_config_is_a_config(tmp_path):
    path = tmp_path / "my_config.py"
    path.write_text(example(ROOT / "docs/reference/config.md", "# my_config.py"))
    assert validate(read_config(str(path), [])).budget.value == 0.25


def test_the_example_of_a_model_of_your_own_prunes_it():
    names = {}
    exec(example(ROOT / "docs/how-to/own-model.md", "import jax"), names)
    assert names["small"].params["out"]["kernel"].shape == (16, names["HIDDEN"])


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


def test_the_example_from_python_makes_a_smaller_model(minilm_dir, tmp_path, monkeypatch, capsys):
    del minilm_dir  # which the code names
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example(README, "import bpjax"), names)
    dense, small = (names[name].config for name in ("model", "small"))
    assert linear(small) < 0.8 * linear(dense)
    densities = [x.density for x in summarize(names["masked"].params, describe(dense))]
    assert 0.4 < sum(densities) / 12 <= 0.51
    assert load_pretrained(tmp_path / "smaller")[0] == small
    assert re.fullmatch(r"\d\.\d\d times faster\n", capsys.readouterr().out)


def test_the_reference_has_the_functions_and_their_arguments():
    text = (ROOT / "docs/reference/python.md").read_text()
    text, below = text.split("## A loop of your own")
    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", text, re.M))
    assert [*rows] == [*bpjax._PLACES]
    for name, arguments in rows.items():
        found = inspect.signature(getattr(bpjax, name)).parameters.values()
        bare = inspect.Signature([each.replace(annotation=each.empty) for each in found])
        assert str(bare).replace("'", '"') == f"({arguments})"
    listed = re.findall(r"^\| `([\w`, ]+)` \|", below, re.M)
    given = {name for name, value in vars(pruning).items() if callable(value)}
    assert {name for row in listed for name in row.split("`, `")} == given


def call(line):
    """The arguments of bpjax in a line of a shell, also where another program is to run it."""
    words = shlex.split(line.partition(" [")[0], comments=True)
    for inner in [word for word in words if word.startswith("--") and "=bpjax " in word]:
        words = shlex.split(inner.partition("=")[2])
    names = [word.rpartition("/")[2] for word in words]
    return words[names.index("bpjax") + 1 :] if "bpjax" in names else None


def commands():
    """Every call of bpjax in a block of a page, continued lines joined."""
    for page in PAGES:
        for text in blocks(page, ""):
            for line in text.replace("\\\n", " ").splitlines():
                if "bpjax " in line and (words := call(line)):
                    yield shlex.join(words)


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
    elif options.command is run_predict:
        Generation().replace(**read_settings(overrides))
    else:
        assert not overrides, command


def test_every_module_has_its_page(tmp_path):
    """pdoc imports all of bpjax and reads every docstring; warnings are errors."""
    build = [sys.executable, "-W", "error", "-m", "pdoc", "bpjax", "!bpjax.models.*.torch_code"]
    build.append("--docformat=google")
    subprocess.run([*build, f"--output-directory={tmp_path}"], check=True, cwd=ROOT)
    package = ROOT / "bpjax"
    for path in package.rglob("*.py"):
        name = path.relative_to(package.parent).with_suffix("")
        if name.name not in ("__init__", "__main__", "torch_code"):
            assert (tmp_path / name).with_suffix(".html").stat().st_size > 1000, name
