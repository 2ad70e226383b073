r"""English to German on Multi30k by a small BART trained from scratch, hybrid pruning, then fill.

The dense model, teacher and start of the pruning, is trained here too: no pretrained one is needed.
Its tokenizer and its random weights come from experiments/multi30k_start.py.

Command:  python -m experiments.multi30k_start --data=data/multi30k --output=runs/multi30k_start
          bpjax run --config=configs/multi30k.py --workdir=runs/multi30k
          bpjax run --config=configs/multi30k.py --workdir=runs/multi30k_25 \
              --config.budget.value=0.25 --config.prune.epochs=3 \
              --config.teacher.source=runs/multi30k/teacher/model
Hardware: 2 CPU cores.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="translation")
    config.model.source = "runs/multi30k_start"
    config.model.training_dtype = "bfloat16_products"
    config.task.data = "data/multi30k/train.en,data/multi30k/train.de"
    config.task.eval = "data/multi30k/test_2016_flickr.en,data/multi30k/test_2016_flickr.de"
    config.task.max_length = config.task.max_target_length = 64
    config.batch.size = 128
    config.batch.eval_size = 64
    config.batch.buckets = (16, 24, 64)
    config.batch.target_buckets = (16, 24, 32, 64)
    config.measure.shapes = ("1x32", "32x32")
    config.generation.num_beams = 5

    config.teacher.epochs = 10
    config.teacher.learning_rate = 1e-3
    config.teacher.warmup_steps = 600

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.budget.value = 0.5
    config.prune.epochs = 5
    config.prune.learning_rate = 3e-4
    config.prune.warmup_steps = 200
    config.fill.epochs = 2
    config.fill.learning_rate = 3e-4
    config.fill.warmup_steps = 100
    return config
