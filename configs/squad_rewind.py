"""BERT-base on SQuAD v1.1 with the paper's recipe, the heads of an earlier run held dense.

The earlier run is that of configs/squad_hybrid.py in runs/squad, whose dense model serves again;
another is named by `prune.rewind` and `teacher.source`.

Command:  bpjax run --config=configs/squad_rewind.py --workdir=runs/squad_rewind
Hardware: one GPU; written for one H100-class card. Not for CPU: 110,000 steps of 16 × 384.
Expected: Lagunas et al. 2021 describe the step; no number of it is known here. bpjax has not run
          this config yet.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("squad_hybrid.py")), [])
    config.prune.rewind = "runs/squad"
    config.teacher.source = "runs/squad/teacher/model"
    return config
