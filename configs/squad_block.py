"""BERT-base on SQuAD v1.1 with the paper's recipe in blocks of 32 × 32 everywhere, no fill.

Command:  bpjax run --config=configs/squad_block.py --workdir=runs/squad_block
Hardware: one GPU; written for one H100-class card. Not for CPU: 110,000 steps of 16 × 384.
Expected: Lagunas et al. 2021 report F1 87.36 at this λ, with 38.8% of the linear parameters left,
          1.56 times faster. bpjax has not run this config yet.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("squad_hybrid.py")), [])
    config.pruning.pattern = "block"
    config.pruning.block = (32, 32)
    config.fill.epochs = 0
    return config
