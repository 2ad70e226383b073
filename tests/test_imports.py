"""Imports point one way: who may use whom is written here, and held for every module of bpjax."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

import bpjax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bpjax"

# Packages and modules directly in bpjax. "report" also draws from pruning.summary.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "spelling": set(),
    "runtime": set(),
    "distributed": {"errors"},
    "pruning": set(),
    "models": {"pruning", "errors", "spelling"},
    "tasks": {"errors", "spelling"},
    "training": {"pruning", "models", "tasks", "generation", "distributed", "errors", "files"},
    "generation": {"models", "errors"},
    "prediction": {"models", "tasks", "training", "generation", "errors"},
    "measure": {"pruning", "models", "errors"},
    "exports": {"pruning", "models", "measure", "errors"},
    "report": {"errors", "files", "pruning.summary"},
    "config": {"errors", "pruning", "tasks", "models", "measure"},
    "workdir": {"config", "distributed", "errors", "files"},
    "stages": {
        "pruning",
        "models",
        "tasks",
        "training",
        "measure",
        "generation",
        "config",
        "workdir",
        "distributed",
        "errors",
        "files",
        "report.environment",
        "report.sizes",
    },
    "compression": {"any"},
    "api": {
        "pruning",
        "models",
        "tasks",
        "training",
        "prediction",
        "measure",
        "generation",
        "exports",
        "stages.opened",
        "errors",
    },
    "pipeline": {"any"},
    "sweep": {"any"},
    "cli": {"any"},
    "commands": {"any"},
    "__main__": {"cli"},
    "__init__": {"any"},  # at first use of a name
}
PRUNING_MAY_USE = {"jax", "jaxtyping", "numpy"}
HEAVY = {
    "tensorflow_datasets",
    "datasets",
    "grain",
    "ml_collections",
    "seqeval",
    "nltk",
    "rouge_score",
    "sacrebleu",
    "torch",
    "tensorflow",
}


def modules():
    """Dotted names and paths of all modules of bpjax."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts), path


def imported(source, package):
    """Dotted names that a module imports, wherever in it, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            names.add(base)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def package_of(module):
    return module.split(".")[1]


def find_trespasses(module, source, is_package=False):
    """What a module imports from packages that are not open to it."""
    package = module if is_package else module.rpartition(".")[0]
    own = package_of(module)
    wanted = {name.removeprefix("bpjax.") for name in imported(source, package) if "bpjax." in name}
    open_to_it = ALLOWED[own] | {own}
    if "any" in open_to_it:
        return set()

    def may(name):
        return any(
            name == o or name.startswith(o + ".") or o.startswith(name + ".") for o in open_to_it
        )

    return {name for name in wanted if not may(name) and not name.startswith("__")}


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_it_may(module):
    assert package_of(module) in ALLOWED, f"new package: say in {__file__} what it may import"
    path = MODULES[module]
    assert not find_trespasses(module, path.read_text(), path.name == "__init__.py")


@pytest.mark.parametrize("module", [name for name in MODULES if package_of(name) == "pruning"])
def test_pruning_imports_jax_and_nothing_else(module):
    tops = {name.partition(".")[0] for name in imported(MODULES[module].read_text(), module)}
    foreign = tops - PRUNING_MAY_USE - {"bpjax", ""} - set(sys.stdlib_module_names)
    assert not foreign


def test_nothing_is_read_that_can_run_code():
    """A pickle is a program: whoever may write the file says what is run by who reads it."""
    barred = {"pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve"}
    users = {
        name
        for name, path in MODULES.items()
        if barred & {each.partition(".")[0] for each in imported(path.read_text(), name)}
        or "allow_pickle=True" in path.read_text()
    }
    assert not users
    assert not [name for name in barred if f'"{name}' in (ROOT / "setup.py").read_text()]


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("bpjax.models.bert", "from bpjax.pruning import structure", set()),
        ("bpjax.models.bert", "from bpjax.training.loop import fit", {"training.loop"}),
        ("bpjax.models.bert", "def f():\n    import bpjax.tasks.squad", {"tasks.squad"}),
        ("bpjax.pruning.masks", "from bpjax.errors import UserError", {"errors"}),
        ("bpjax.pruning.masks", "from ..models import bert", {"models", "models.bert"}),
        ("bpjax.pruning.masks", "from . import blocks", set()),
        ("bpjax.report.table", "from bpjax.pruning import summary", set()),
        ("bpjax.report.table", "from bpjax.pruning import masks", {"pruning.masks"}),
        ("bpjax.tasks.squad", "from bpjax import models", {"models"}),
        ("bpjax.pipeline", "from bpjax import models, training", set()),
    ],
)
def test_the_rule_itself(module, source, found):
    trespasses = find_trespasses(module, source)
    assert {name for name in trespasses if name in found} == found
    assert bool(trespasses) == bool(found)


@pytest.mark.parametrize("module", [name for name in MODULES if package_of(name) != "models"])
def test_no_architecture_is_known_outside_models(module):
    text = MODULES[module].read_text()
    names = {
        path.name for path in (PACKAGE / "models").iterdir() if (path / "describe.py").exists()
    }
    assert names and "BertConfig" not in text
    assert not [name for name in names if f"models.{name}" in text]


def test_only_stages_see_the_whole_config():
    users = {package_of(name) for name, path in MODULES.items() if "RunConfig" in path.read_text()}
    assert users == {"config", "stages", "pipeline"}


def test_ml_collections_stays_where_configs_are_read():
    users = {name for name, path in MODULES.items() if "ml_collections" in path.read_text()}
    assert {package_of(name) for name in users} == {"config", "compression", "sweep"}


def loaded_by(*names):
    """Modules in memory after importing these, in an interpreter of their own."""
    code = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_pruning_loads_no_flax_and_no_other_package():
    names = [name for name in MODULES if package_of(name) == "pruning"]
    loaded = loaded_by("bpjax.pruning", *names)
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY | {"flax", "transformers"})
    assert {package_of(name) for name in loaded if name.startswith("bpjax.")} == {"pruning"}


def test_bpjax_alone_loads_no_jax_and_has_what_it_names():
    assert not {name.partition(".")[0] for name in loaded_by("bpjax")} & (HEAVY | {"jax", "flax"})
    assert {*dir(bpjax)} == {*bpjax._PLACES, "__version__"}
    for name in bpjax._PLACES:
        assert callable(getattr(bpjax, name)), name
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        _ = bpjax.prune


def test_no_module_has_the_name_of_a_function():
    """Once such a module is imported it is what `bpjax.NAME` gives."""
    assert not {package_of(name) for name in MODULES} & {*bpjax._PLACES}


def test_core_loads_without_the_data_libraries():
    loaded = loaded_by("bpjax.models", "bpjax.training.step", "bpjax.exports", "bpjax.measure")
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
