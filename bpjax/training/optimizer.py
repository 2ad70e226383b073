"""AdamW for weights and Adam for scores, each with its own learning rate."""

import optax


def make_optimizer(
    *,
    steps: int,
    warmup_steps: int,
    learning_rate: float,
    score_learning_rate: float = 0.0,
    weight_decay: float = 0.0,
    clip: float = 1.0,
) -> optax.GradientTransformation:
    """The optimizer of one stage, over a tree `{"params": …, "learned": …, "projection": …}`.

    Both learning rates rise linearly over `warmup_steps` and fall linearly to zero at `steps`.

    Args:
      steps: updates in the stage.
      warmup_steps: updates of warm-up.
      learning_rate: peak, of the model's parameters, and of what terms of distillation learn.
      score_learning_rate: peak, of what the pruning method learns.
      weight_decay: decoupled, of the parameters only.
      clip: largest global norm of the gradient, over parameters and scores together.
    """

    def schedule(peak: float) -> optax.Schedule:
        return optax.join_schedules(
            [
                optax.linear_schedule(0.0, peak, warmup_steps),
                optax.linear_schedule(peak, 0.0, max(1, steps - warmup_steps)),
            ],
            [warmup_steps],
        )

    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.partition(
            {
                "params": optax.adamw(schedule(learning_rate), weight_decay=weight_decay),
                "projection": optax.adam(schedule(learning_rate)),
                "learned": optax.adam(schedule(score_learning_rate)),
            },
            # The labels are a prefix of the tree: one transformation for all under each key.
            lambda tree: {key: key for key in tree},
        ),
    )
