"""BART-base on CNN/DailyMail, hybrid pruning as in the paper (Lagunas et al. 2021, section 4.2).

The recipe is that of the reference's summarisation script: 10 epochs, 32x32 blocks in attention,
rows and columns of the feed-forward layers, a fill of as many. The dense model is fine-tuned first
and teaches; whether the paper's models had a teacher is not known.

Command:  bpjax run --config=configs/cnn_dailymail.py --workdir=runs/cnn_dailymail
Hardware: one GPU of 40 GB; not run by us, who have neither the weights nor the data here.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="cnn_dailymail")
    config.model.source = "facebook/bart-base"
    config.model.training_dtype = "bfloat16"
    config.task.max_length, config.task.max_target_length = 1024, 128
    config.batch.size, config.batch.accumulate = 16, 4
    config.batch.buckets = (256, 512, 768, 1024)
    config.batch.target_buckets = (64, 128)
    config.batch.eval_size = 16
    config.generation.num_beams, config.generation.max_length = 6, 128
    config.measure.shapes = ("1x128", "8x1024")

    config.teacher.epochs = 3
    config.teacher.learning_rate = 3e-5
    config.teacher.warmup_steps = 5400

    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.pruning.block = (32, 32)
    config.budget.kind, config.budget.value = "penalty", 20.0
    config.prune.start = "pretrained"
    config.prune.epochs = 10
    config.prune.learning_rate = 3e-5
    config.prune.score_learning_rate = 1e-2
    config.prune.warmup_steps = 5400

    config.fill.epochs = 10
    config.fill.learning_rate = 3e-5
    config.fill.warmup_steps = 10
    return config
