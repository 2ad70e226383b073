"""Distillation: who teaches, and the terms of the loss that compare a student with its teacher.

To add a term, write its loss and name it in `TERMS`: the step sums what a teacher's `terms` weigh.
How far two arrays are apart: differences.py.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PyTree

from bpjax.models.architecture import Config, Outputs
from bpjax.models.heads import Head, real_tokens, rows
from bpjax.models.inputs import TEACHER_LOGITS, WEIGHT
from bpjax.pruning.kept import KeptUnits
from bpjax.pruning.structure import Structure, tokens_of
from bpjax.training import differences
from bpjax.training.evaluation import Batch, apply

OUTPUTS, STATES, SCORES = "outputs", "states", "scores"


class Compared(NamedTuple):
    """What terms are a function of.

    Attributes:
      student: what the student makes of the batch.
      teacher: what the teacher does; states and scores only where a term needs them.
      batch: as both have read it.
      structure: of the student.
      kept: the student's units that are left.
      head: of both.
      temperature: of both softmaxes.
      means: where the batch is a part of another one, what `Term.means` gives of all of that, by
        the term's name.
    """

    student: Outputs
    teacher: Outputs
    batch: Batch
    structure: Structure
    kept: KeptUnits
    head: Head
    temperature: float
    means: Mapping[str, Array] = MappingProxyType({})


def _always(ours: Structure, theirs: Structure) -> None:
    del ours, theirs


class Term(NamedTuple):
    """One addend of the loss.

    Attributes:
      name: its key in `TERMS` and in scalars.jsonl.
      needs: of "outputs", "states" and "scores", what it compares.
      loss: (what it learns itself, compared): its value, unweighted.
      init: (student's structure, teacher's): what it learns itself, at the start of training. None
        where it learns nothing.
      fits: (student's structure, teacher's): why the two cannot be compared, what the teacher has
        and what is expected; None where they can.
      over: (student's structure, batch): the weights of what its loss is a mean over; None: of what
        the head's distillation is.
      heads: those whose outputs it compares; None: any.
      means: (what it learns itself, compared): means over the same, of which a loss is a function
        that is no mean itself. Of a part of a batch it then goes by `Compared.means`, so that the
        parts' losses add up to the whole batch's all the same. None: it is one.
    """

    name: str
    needs: frozenset[str]
    loss: Callable[[Any, Compared], Array]
    init: Callable[[Structure, Structure], PyTree] | None = None
    fits: Callable[[Structure, Structure], str | None] = _always
    over: Callable[[Structure, Batch], PyTree] | None = lambda structure, batch: rows(batch)
    heads: frozenset[str] | None = None
    means: Callable[[Any, Compared], Array] | None = None


class Teacher(NamedTuple):
    """A dense model to learn from.

    Attributes:
      config: its sizes; they may differ from the student's.
      params: its parameters.
      weight: of the term "distillation", in [0, 1]; the task's loss gets the rest.
      temperature: T of both softmaxes.
      replace: chance of a token to be replaced in the rows that `replace_tokens` alters; 0 alters
        none.
      terms: what is added to the loss: weights, and names in `TERMS`. Without any that needs states
        or scores the teacher is not run where its logits are cached.
    """

    config: Config
    params: dict
    weight: float = 0.9
    temperature: float = 2.0
    replace: float = 0.0
    terms: tuple[tuple[float, str], ...] = ()

    @property
    def reads_activations(self) -> bool:
        """Whether hidden states or attention scores are compared."""
        return any(TERMS[name].needs - {OUTPUTS} for _, name in self.terms)

    @property
    def reads_means(self) -> bool:
        """Whether a term of a part of a batch goes by means of the whole one."""
        return any(TERMS[name].means for _, name in self.terms)


def teach(teacher: Teacher, params: dict, dtype: str, batch: Batch) -> Outputs:
    """What the teacher says of a batch, and shows of itself where that is compared.

    Args:
      teacher: who is asked.
      params: its parameters, as the step has them.
      dtype: the student's compute type: what the teacher says is matched, not reported.
      batch: which may bring `TEACHER_LOGITS` along: then nothing is run unless activations are
        compared.
    """
    # Logits that a batch brings are those of its tokens before they were altered.
    logits = None if teacher.replace else batch.get(TEACHER_LOGITS)
    if logits is not None and not teacher.reads_activations:
        return Outputs(hidden=None, logits=logits)
    model = teacher.config.replace(dtype=dtype)
    found = apply(model, params, batch, activations=teacher.reads_activations)
    return found if logits is None else found._replace(logits=logits)


def init_learned(teacher: Teacher, ours: Structure, theirs: Structure) -> PyTree | None:
    """What the terms learn themselves, at the start of training; None where they learn nothing.

    Of one term that learns it is the term's own, of several a tree by their names.

    Args:
      teacher: whose terms.
      ours: the student's structure.
      theirs: the teacher's.
    """
    learners = ((name, TERMS[name].init) for _, name in teacher.terms)
    found = {name: init(ours, theirs) for name, init in learners if init}
    return found if len(found) > 1 else next(iter(found.values()), None)


def losses_of(teacher: Teacher, learned: PyTree, compared: Compared) -> dict[str, Array]:
    """The terms' values by name, unweighted, "distillation" first.

    Args:
      teacher: whose terms.
      learned: by them, as `init_learned` gives it.
      compared: student and teacher on a batch.
    """
    own = _own(teacher, learned)
    return {name: TERMS[name].loss(own.get(name), compared) for name in _names(teacher)}


def means_of(teacher: Teacher, learned: PyTree, compared: Compared) -> dict[str, Array]:
    """The means of those terms that are a function of some, see `Term.means`, by name.

    Args:
      teacher: whose terms.
      learned: by them, as `init_learned` gives it.
      compared: student and teacher on a batch.
    """
    own, found = _own(teacher, learned), {}
    for name in _names(teacher):
        if means := TERMS[name].means:
            found[name] = means(own.get(name), compared)
    return found


def counts_of(
    teacher: Teacher, head: Head, structure: Structure, batch: Batch
) -> dict[str, Num[Array, ""]]:
    """How many rows, tokens or pairs each term is a mean over, by name.

    Args:
      teacher: whose terms.
      head: of both models.
      structure: of the student.
      batch: as both read it.
    """
    found = {}
    for name in _names(teacher):
        over = TERMS[name].over
        weights = over(structure, batch) if over else head.distill_over(batch)
        found[name] = sum(x.sum() for x in jax.tree.leaves(weights))
    return found


def _names(teacher: Teacher) -> list[str]:
    return [DISTILLATION, *(name for _, name in teacher.terms)]


def _own(teacher: Teacher, learned: PyTree) -> dict[str, PyTree]:
    """What each term learns itself."""
    learners = [name for name in _names(teacher) if TERMS[name].init]
    return learned if len(learners) > 1 else dict.fromkeys(learners, learned)


def alive_layers(structure: Structure, kept: KeptUnits) -> Bool[Array, " layers"]:
    """Which layers still compute: those with a unit left in any of their sublayers."""
    found: dict[str, Array] = {}
    for sublayer in structure.sublayers:
        alive = kept.units[sublayer.name].any()
        found[sublayer.layer] = found[sublayer.layer] | alive if sublayer.layer in found else alive
    return jnp.stack([*found.values()])


def _of_states(structure: Structure, batch: Batch) -> dict[str, Num[Array, "batch _"]]:
    """The weight of each token, by the name of a layer, and of the embeddings before."""
    layers = [each.layer for each in structure.sublayers]
    before = [f"{layer.rpartition('/')[0]}/embeddings".lstrip("/") for layer in layers]
    names = dict.fromkeys([*before, *layers])
    return {name: real_tokens(batch, tokens_of(structure, name)) for name in names}


def _of_scores(structure: Structure, batch: Batch) -> list[Num[Array, "batch _ _"]]:
    """The weight of each pair of tokens that meet, by sublayer that mixes tokens."""
    found = []
    for each in structure.sublayers:
        if each.mixes and each.units:
            keys = next(x.tokens for x in each.reads if x.role == "key")
            pairs = batch[each.write.tokens][:, :, None] * batch[keys][:, None, :]
            found.append(pairs * batch[WEIGHT][:, None, None])
    return found


def _compare_outputs(_: None, found: Compared) -> Array:
    assert found.head.distill, f"head {found.head.name} has nothing to compare"
    ours, theirs = found.student.logits, found.teacher.logits
    assert ours is not None and theirs is not None
    return found.head.distill(ours, theirs, found.batch, found.temperature)


def _compare_hidden(_: None, found: Compared) -> Array:
    places = _of_states(found.structure, found.batch)
    ours, theirs = (
        [x.hidden_states[name] for name in places] for x in (found.student, found.teacher)
    )
    return differences.hidden(ours, theirs, [*places.values()])


def _compare_attention(_: None, found: Compared) -> Array:
    ours, theirs = (x.attention_scores.values() for x in (found.student, found.teacher))
    return differences.attention(
        tuple(ours), tuple(theirs), _of_scores(found.structure, found.batch)
    )


def _compare_layers(projection: Array, found: Compared) -> Array:
    alive, whole = alive_layers(found.structure, found.kept), found.means.get("layers")
    return differences.layers(*_layers_of(projection, found), alive, _of_layers(found), whole)


def _distances(projection: Array, found: Compared) -> Array:
    return differences.layer_distances(*_layers_of(projection, found), _of_layers(found))


def _of_layers(found: Compared) -> Num[Array, "batch _"]:
    """The weight of each token, the same for all layers."""
    return [*_of_states(found.structure, found.batch).values()][-1]


def _layers_of(projection: Array, found: Compared) -> tuple[list[Array], Sequence[Array]]:
    """States after each layer, the student's projected, and the teacher's."""

    def in_order(outputs: Outputs) -> list[Array]:
        # By number: a dict that went through jit is sorted by its keys' letters.
        states = {k: x for k, x in outputs.hidden_states.items() if not k.endswith("embeddings")}
        return [states[name] for name in sorted(states, key=lambda name: (len(name), name))]

    ours, theirs = in_order(found.student), in_order(found.teacher)
    return [state @ projection for state in ours], theirs


def _vectors(found: Compared) -> tuple[Array, Array, Array]:
    ours, theirs = found.student.logits, found.teacher.logits
    assert ours is not None and theirs is not None
    return ours, theirs, found.batch[WEIGHT]


def _compare_similarity(_: None, found: Compared) -> Array:
    return differences.similarity(*_vectors(found), found.means.get("similarity"))


def _identity(ours: Structure, theirs: Structure) -> Float[Array, "student teacher"]:
    """A map from the student's hidden states to the teacher's."""
    return jnp.eye(_width(ours), _width(theirs))


def _one_stack(ours: Structure, theirs: Structure) -> str | None:
    """Whether each layer of one model can be compared with each of the other."""
    masks = {each.write.tokens for each in (*ours.sublayers, *theirs.sublayers)}
    return None if len(masks) == 1 else "has an encoder and a decoder, expected one stack of layers"


def _width(structure: Structure) -> int:
    """Dimensions of the stream whose states are compared: the last sublayer's."""
    return structure.streams[structure.sublayers[-1].write.stream].size


def _layers(structure: Structure) -> int:
    return len({sublayer.layer for sublayer in structure.sublayers})


def _heads(structure: Structure) -> tuple[int, ...]:
    return tuple(sublayer.units for sublayer in structure.sublayers if sublayer.mixes)


def _same(
    shape: Callable[[Structure], tuple], words: str
) -> Callable[[Structure, Structure], str | None]:
    """Whether two models agree in a shape, or what of it they have."""

    def fits(ours: Structure, theirs: Structure) -> str | None:
        if shape(ours) == shape(theirs):
            return None
        return f"has {shape(theirs)} ({words}), expected the model's {shape(ours)}"

    return fits


DISTILLATION = "distillation"

TERMS = {
    term.name: term
    for term in (
        Term(DISTILLATION, frozenset({OUTPUTS}), _compare_outputs, over=None),
        Term(
            "hidden",
            frozenset({STATES}),
            _compare_hidden,
            fits=_same(lambda x: (_layers(x), _width(x)), "layers and dimensions"),
            over=_of_states,
        ),
        Term(
            "attention",
            frozenset({SCORES}),
            _compare_attention,
            fits=_same(_heads, "heads by layer"),
            over=_of_scores,
        ),
        Term(
            "layers",
            frozenset({STATES}),
            _compare_layers,
            init=_identity,
            fits=_one_stack,
            over=lambda structure, batch: _of_states(structure, batch)["embeddings"],
            means=_distances,
        ),
        Term(
            "similarity",
            frozenset({OUTPUTS}),
            _compare_similarity,
            heads=frozenset({"embedding"}),
            means=lambda _, found: differences.similarity_means(*_vectors(found)),
        ),
    )
}
"""All terms, by name, in the order in which they are added."""
