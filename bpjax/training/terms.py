"""Distillation: who teaches, and the terms of the loss that compare a student with its teacher.

To add a term, write its loss and name it in `TERMS`: the step sums what a teacher's `terms` weigh.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PyTree

from bpjax.models.architecture import Config, Outputs
from bpjax.models.embedding import normalized
from bpjax.models.heads import Head, real_tokens, rows
from bpjax.models.inputs import TEACHER_LOGITS, WEIGHT
from bpjax.pruning.kept import KeptUnits
from bpjax.pruning.structure import Structure, tokens_of
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


def hidden(
    student: Sequence[Float[Array, "batch _ hidden"]],
    teacher: Sequence[Float[Array, "batch _ hidden"]],
    places: Sequence[Num[Array, "batch _"]],
) -> Float[Array, ""]:
    """Mean squared difference of the hidden states, over layers, real tokens and dimensions.

    Args:
      student: states after the embeddings and after each layer.
      teacher: the same from the teacher, as many and as wide; no gradient flows into them.
      places: of each the weight of its tokens, 0 at padding.
    """
    return _mean_square(student, teacher, -1, places)


def attention(
    student: Sequence[Float[Array, "batch heads _ _"]],
    teacher: Sequence[Float[Array, "batch heads _ _"]],
    places: Sequence[Num[Array, "batch _ _"]],
) -> Float[Array, ""]:
    """Mean squared difference of the attention scores, over layers, heads and pairs of real tokens.

    Of the scores before the softmax (Jiao et al. 2020; Xu et al. 2021). Longer padding changes
    nothing, unlike in a mean over all pairs with those of padding set to zero.

    Args:
      student: scores of each layer.
      teacher: the same from the teacher, as many and of as many heads; no gradient flows into them.
      places: of each the weight of its pairs, 0 where one of the two tokens is padding.
    """
    return _mean_square(student, teacher, 1, places)


def layers(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    alive: Bool[Array, " layers"],
    places: Num[Array, "batch length"],
    whole: Float[Array, "matched layers"] | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of some of the teacher's layers, each to the student's nearest.

    Which is nearest changes as the student does (Xia et al. 2022, section 3.3).

    Args:
      student: states after each layer, projected to the teacher's width.
      teacher: states after each of its layers; those of `matched_layers` count, and no gradient
        flows into them.
      alive: which of the student's layers still compute; the others match nothing, unless none do.
      places: the weight of each token, 0 at padding.
      whole: `layer_distances` of the batch that these rows are a part of, by which it is told what
        is nearest; None: they are all.
    """

    def least(distances: Array) -> Array:
        return jnp.where(alive | ~alive.any(), distances, jnp.inf).min(1).mean()

    distances = layer_distances(student, teacher, places)
    return least(distances) if whole is None else jnp.vdot(jax.grad(least)(whole), distances)


def layer_distances(
    student: Sequence[Float[Array, "batch length hidden"]],
    teacher: Sequence[Float[Array, "batch length hidden"]],
    places: Num[Array, "batch length"],
) -> Float[Array, "matched layers"]:
    """Mean squared differences of the teacher's `matched_layers` to all of the student's.

    Args:
      student: see `layers`.
      teacher: see `layers`.
      places: the weight of each token, 0 at padding.
    """
    chosen = [teacher[i] for i in matched_layers(len(teacher))]
    return jnp.stack(
        [
            jnp.stack([_mean_square([ours], [theirs], -1, [places]) for ours in student])
            for theirs in chosen
        ]
    )


def matched_layers(count: int) -> list[int]:
    """The last layer of each quarter of a teacher: 2, 5, 8 and 11 of 12."""
    return sorted({max(0, -(-count * quarter // 4) - 1) for quarter in (1, 2, 3, 4)})


def _mean_square(student, teacher, axis, places):
    """Squared difference, averaged over an axis, and over the weighted places of all layers."""
    total = count = jnp.zeros(())
    for ours, theirs, weight in zip(student, teacher, places, strict=True):
        squares = jnp.square(ours - jax.lax.stop_gradient(theirs)).mean(axis)
        total, count = total + jnp.sum(squares * weight), count + weight.sum()
    return total / jnp.maximum(count, 1)


def similarity(
    student: Float[Array, "batch dimensions"],
    teacher: Float[Array, "batch dimensions"],
    weight: Float[Array, " batch"],
    whole: Float[Array, "3 dimensions dimensions"] | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of the cosines of embeddings, over all pairs of rows of a batch.

    Args:
      student: embeddings of rows, of any length.
      teacher: the same from the teacher; no gradient flows into them.
      weight: of each row, 0 for padding rows.
      whole: `similarity_means` of the batch that these rows are a part of, with whose other rows
        they are paired, too; None: they are all.
    """
    if whole is None:
        ours, theirs = normalized(student), normalized(jax.lax.stop_gradient(teacher))
        pairs = weight[:, None] * weight[None, :]
        squares = jnp.square(ours @ ours.T - theirs @ theirs.T)
        return jnp.sum(squares * pairs) / jnp.maximum(pairs.sum(), 1)

    def of_means(means: Array) -> Array:
        # The squares of all pairs' differences, multiplied out, are products of sums over rows.
        return jnp.vdot(jnp.array([1.0, -2.0, 1.0]), jnp.square(means).sum((1, 2)))

    value, slope = jax.value_and_grad(of_means)(whole)
    # Its tangent at the whole batch's means: the parts' sum has the whole's value and gradient.
    return jnp.vdot(slope, similarity_means(student, teacher, weight)) - value


def similarity_means(
    student: Float[Array, "batch dimensions"],
    teacher: Float[Array, "batch dimensions"],
    weight: Float[Array, " batch"],
) -> Float[Array, "3 dimensions dimensions"]:
    """Means over rows of s sᵀ, s tᵀ and t tᵀ, of both models' embeddings of length 1.

    Args:
      student: see `similarity`.
      teacher: see `similarity`.
      weight: of each row, 0 for padding rows.
    """
    ours, theirs = normalized(student), normalized(jax.lax.stop_gradient(teacher))
    shares = weight / jnp.maximum(weight.sum(), 1)
    pairs = ((ours, ours), (ours, theirs), (theirs, theirs))
    return jnp.stack([jnp.einsum("n,ni,nj->ij", shares, x, y) for x, y in pairs])


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
    return hidden(ours, theirs, [*places.values()])


def _compare_attention(_: None, found: Compared) -> Array:
    ours, theirs = (x.attention_scores.values() for x in (found.student, found.teacher))
    return attention(tuple(ours), tuple(theirs), _of_scores(found.structure, found.batch))


def _compare_layers(projection: Array, found: Compared) -> Array:
    alive, whole = alive_layers(found.structure, found.kept), found.means.get("layers")
    return layers(*_layers_of(projection, found), alive, _of_layers(found), whole)


def _distances(projection: Array, found: Compared) -> Array:
    return layer_distances(*_layers_of(projection, found), _of_layers(found))


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
    return similarity(*_vectors(found), found.means.get("similarity"))


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
            means=lambda _, found: similarity_means(*_vectors(found)),
        ),
    )
}
"""All terms, by name, in the order in which they are added."""
