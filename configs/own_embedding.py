"""MiniLM's embeddings of texts of your own: cut by Fisher importances while it learns from itself.

No labels: the dense model as it comes is the start and the teacher, of its embeddings, of their
cosines within a batch and of its hidden states. A table of pairs with scores, if there is one, is
what is evaluated on; else it is how near the embeddings stay to the dense model's.

Command:  bpjax run --config=configs/own_embedding.py --workdir=runs/own
          --config.task.data=texts.csv --config.task.eval=sts.csv
Hardware: any; on one CPU core about half an hour for ten thousand sentences.
Expected: depends on the texts. Fewer than 3,000 need more epochs or fewer warm-up steps.
"""

from ml_collections import ConfigDict

from bpjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config(task="embedding")
    config.task.max_length = 128
    config.batch.buckets = (8, 16, 24, 40, 64, 128)  # each is compiled for every pattern
    config.batch.size = 32
    config.teacher.epochs = 0
    config.budget.kind, config.budget.value = "density", 0.3
    config.pruning.method, config.pruning.pattern = "fisher", "struct"
    config.prune.epochs, config.prune.warmup_steps = 3, 100
    config.prune.learning_rate = 2e-4
    config.pruning.initial_warmup = 0.0
    config.pruning.final_warmup = 4.0
    config.distillation.weight = 1.0
    config.distillation.similarity.prune = 1.0
    config.distillation.hidden.prune = 1.0
    config.fill.epochs, config.fill.warmup_steps = 0, 50
    return config
