r"""BERT-base on SQuAD v1.1 with the paper's recipe, learning from BERT-large.

The teacher is a finished model of the same task and vocabulary: `distillation.source`. The dense
BERT-base is still trained, to be compared with.

Command:  bpjax run --config=configs/squad_large_teacher.py --workdir=runs/squad_large_teacher \
              --config.distillation.source=MODEL_DIR
Hardware: one GPU; written for one H100-class card. Not for CPU: 110,000 steps of 16 × 384.
Expected: Lagunas et al. 2021 report F1 90.27, 88.31 and 87.16 for filled models with 45%, 24% and
          19% of the linear parameters, 1.56, 2.31 and 2.62 times faster. Which λ gave them is not
          known here. bpjax has not run this config yet.
"""

from pathlib import Path

from ml_collections import ConfigDict

from bpjax.config import read_config


def get_config() -> ConfigDict:
    config = read_config(str(Path(__file__).with_name("squad_hybrid.py")), [])
    config.distillation.source = "runs/squad_large/teacher/model"
    return config
