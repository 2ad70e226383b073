"""A run of a tiny model: 10 steps of the teacher, 30 of fine-pruning, 10 of fill."""

from bpjax.config import default_config


def get_config():
    config = default_config(task="embedded")
    config.model.source = "start"  # beside this file, which is the working folder
    config.task.train_size, config.task.eval_size = 160, 60
    config.batch.size = 16
    config.batch.eval_size = 30
    for stage in (config.teacher, config.prune, config.fill):
        stage.epochs, stage.warmup_steps, stage.learning_rate = 1, 2, 1e-3
    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.prune.start = "pretrained"
    config.prune.epochs = 3
    config.prune.score_learning_rate = 0.1
    config.distillation.hidden.prune = 0.1
    config.distillation.layers.prune = 0.1
    config.distillation.replace.prune = 0.1
    config.pruning.block = (4, 4)
    config.budget.kind = "density"
    config.budget.value = 0.5
    config.measure.shapes = ("1x16",)
    config.measure.rounds = 3
    config.log_every = 1
    config.checkpoint_every = 4
    return config
