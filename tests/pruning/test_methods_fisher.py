"""Fisher importances: gradients of gates by hand, cuts on a schedule, blocks inside heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_budget import CONFIG
from test_methods import scheduled
from test_step import STILL, make_batch
from tiny import make_params, pattern_of

from bpjax.models import bert
from bpjax.models.heads import HEADS
from bpjax.pruning.budget import reachable
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods import make_method
from bpjax.pruning.schedules import cubic
from bpjax.pruning.structure import at, put
from bpjax.training.evaluation import apply, forward
from bpjax.training.importances import (
    TEMPERATURE,
    gate_collection,
    observe_rows,
    open_gates,
    squared_gradients,
)
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import OBSERVED, make_train_step

STRUCTURE = bert.describe(CONFIG)
COST = linear_cost(STRUCTURE)
PATTERNS = (("struct", (1, 1)), ("hybrid", (4, 2)), ("hybrid", (5, 1)))


def priced(pattern, structure=STRUCTURE, **options):
    return make_method("fisher", pattern, **options).priced(structure, linear_cost(structure), 1)


def start(name, block, **options):
    """The method, and a state that has seen importances drawn at random."""
    pattern = pattern_of(name, block, CONFIG)
    method = priced(pattern, **options)
    state, generator = method.init(jax.random.key(0), {}), np.random.default_rng(0)
    squares = {
        name: jnp.asarray(generator.lognormal(size=x.shape), jnp.float32)
        for name, x in state.fixed.importances.items()
    }
    return pattern, method, method.observe(state, squares), squares


def fraction(pattern, values):
    return float(COST.fraction(STRUCTURE, kept_units(STRUCTURE, pattern, values)))


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_what_is_left_costs_what_is_allowed(name, block):
    pattern, method, state, _ = start(name, block)
    masks = jax.jit(lambda density: method.masks(state, {}, scheduled(density=density), None))
    dimension = 2 * 16 / (16 * 2 * 16 * 4 + 128 * 2 * 16)
    for wanted in (0.7, 0.3, 0.05):
        assert wanted - dimension <= fraction(pattern, masks(wanted)) <= wanted + 1e-5
    assert reachable(method, lambda x: jnp.float32(fraction(pattern, x)), {}) == 0


def test_blocks_inside_a_head_go_where_they_are_worth_less_than_the_last_unit():
    pattern, method, state, squares = start("hybrid", (4, 2))
    values = method.masks(state, {}, scheduled(density=0.5), None)
    left = kept_units(STRUCTURE, pattern, values).units
    weights = {"attention": 4 * 16 * 2, "ffn": 2 * 16}
    price = min(
        float(jnp.min(jnp.where(alive, squares[name], jnp.inf))) / weights[name.split("/")[1]]
        for name, alive in left.items()
    )
    gone = 0
    for group in pattern.groups:
        if group.kind == "attention":
            value, found = np.asarray(values[group.name]), np.asarray(squares[group.name]) / 8
            alive = np.asarray(left[group.name.rpartition("/")[0]])
            alive = alive[:, None] if group.name.endswith("output") else alive[None, :]
            best = found.max(1 if group.name.endswith("output") else 0, keepdims=True)
            expected = alive & ((found >= price) | (found == best))
            np.testing.assert_array_equal(value > 0, expected)
            gone += int((~expected & alive).sum())
    assert gone > 2  # or nothing was seen to go inside


@pytest.mark.parametrize(("name", "block"), PATTERNS[:2])
def test_units_go_at_each_cut_and_do_not_come_back(name, block):
    pattern, method, state, squares = start(name, block, cuts=4)
    schedule = cubic(steps=40, warmup_steps=10, final_warmup=1.0, density=(1.0, 0.2))
    step = jax.jit(lambda state, i: method.update(state, {}, schedule(i), i)[0])
    seen, before = [], None
    generator = np.random.default_rng(1)
    for i in range(40):
        # Importances change; what is gone has none.
        noise = {k: x * jnp.float32(generator.lognormal(size=x.shape)) for k, x in squares.items()}
        state = step(method.observe(state, noise), i)
        values = method.masks(state, {}, schedule(i), jax.random.key(0))
        seen.append(fraction(pattern, values))
        if before is not None:
            assert all((values[k] <= before[k]).all() for k in values)
        before = values
    assert len(set(seen)) == 5 and seen[0] == 1.0  # four cuts
    assert 0.2 - 0.013 <= seen[-1] <= 0.2  # to within a dimension
    assert seen[29] > seen[30] == seen[39]  # the last where the schedule ends, then the rest
    cut = next(i for i, x in enumerate(seen) if x < 1)
    assert seen[cut] == pytest.approx(float(schedule(cut).density), abs=0.013)
    # And what is evaluated at the end is what was trained.
    final = method.masks(state, {}, schedule(40), None)
    assert all((final[k] == before[k]).all() for k in final)


def test_observed_importances_are_a_running_mean():
    method = priced(pattern_of("struct", (1, 1), CONFIG), memory=3)
    state = method.init(jax.random.key(0), {})
    shapes = {name: x.shape for name, x in state.fixed.importances.items()}
    for number in (3.0, 6.0, 0.0, 4.0):
        state = method.observe(state, {k: jnp.full(shape, number) for k, shape in shapes.items()})
    # (3 + 6 + 0) / 3, and from then on a third of each new one.
    assert all(jnp.allclose(x, 3 + (4 - 3) / 3) for x in state.fixed.importances.values())


TRAINED = bert.describe(STILL)


def prune(name="struct", block=(1, 1), density=0.5, steps=8):
    pattern = pattern_of(name, block, STILL)
    schedule = cubic(steps=steps, warmup_steps=0, density=(1.0, density))
    return Pruning(priced(pattern, TRAINED, cuts=2), pattern, schedule)


def by_hand(params, batch, rng):
    """Squared slopes of each row's distance to outputs a little aside, by what a unit adds."""
    outputs = forward(STILL, params, batch)
    aside = outputs + jax.random.normal(rng, outputs.shape)

    def loss(factors, row, path, width):
        kernel = at(params, path)["kernel"] * jnp.repeat(factors, width)[:, None]
        one = jax.tree.map(lambda x: x[row : row + 1], batch)
        found = forward(STILL, put(params, (*path, "kernel"), kernel), one)
        return HEADS["classification"].distill(found, aside[row : row + 1], one, TEMPERATURE)

    slope = jax.jit(jax.grad(loss), static_argnums=(1, 2, 3))
    real = np.flatnonzero(batch["weight"])
    return {
        each.name: np.stack(
            [
                slope(jnp.ones(each.units), int(row), each.write.path, each.write.width)
                for row in real
            ]
        )
        for each in TRAINED.sublayers
    }


def test_importances_are_squared_gradients_of_each_row():
    """Of calibration rows, and of some of a step's."""
    params, batch, pruning = make_params(STILL), make_batch(rows=7, padding=1), prune()
    method, head = pruning.method, HEADS["classification"]
    seen, gradients = observe_rows(
        STILL,
        head,
        method,
        pruning.pattern,
        pruning.schedule(0),
        method.init(None, {}),
        params,
        [batch],
    )
    slopes = by_hand(params, batch, jax.random.fold_in(jax.random.key(0), 0))
    for name, values in slopes.items():
        np.testing.assert_allclose(gradients[name][:7], values, rtol=2e-4, atol=1e-8)
        assert not gradients[name][7].any()  # padding
        np.testing.assert_allclose(
            seen.fixed.importances[name], np.square(values).mean(0), rtol=2e-4, atol=1e-9
        )

    some = jax.tree.map(lambda x: x[::OBSERVED], batch)
    optimizer = make_optimizer(steps=8, warmup_steps=0, learning_rate=1e-3)
    for accumulate in (1, 2):
        recipe = Recipe(STILL, TRAINED, head, pruning, optimizer, accumulate=accumulate)
        state = init_state(params, pruning, optimizer, jax.random.key(0))
        rng = jax.random.fold_in(jax.random.fold_in(state.rng, 0), 3)
        state, _ = make_train_step(recipe)(state, batch)
        for name, values in by_hand(params, some, rng).items():
            np.testing.assert_allclose(
                state.method.fixed.importances[name],
                np.square(values).mean(0),
                rtol=2e-4,
                atol=1e-9,
            )


@pytest.mark.parametrize("head", ["classification", "regression", "span", "tokens"])
def test_importances_are_how_far_the_outputs_move(head):
    """Over much noise: the squares of what a unit moves, but for what all outputs have alike."""
    config = STILL.replace(head=head, num_labels={"regression": 1, "span": 2}.get(head, 3))
    params, batch = make_params(config), make_batch(rows=1)
    structure, pattern = bert.describe(config), pattern_of("struct", (1, 1), config)

    @jax.jit
    def squares(rng):
        found, _ = squared_gradients(config, HEADS[head], pattern, params, {}, batch, rng)
        return found

    seen = jax.vmap(squares)(jax.random.split(jax.random.key(1), 600))

    def outputs(gates):
        factors = gate_collection(structure, gates)
        found = apply(config, params, batch, gates=factors).logits[0]
        real = int(batch["attention_mask"].sum()) if HEADS[head].per_token else 1
        found = found[:real] if HEADS[head].per_token else found[None]
        apart = {"span": 0, "regression": None}.get(head, -1)
        return found if apart is None else found - found.mean(apart, keepdims=True)

    moved = jax.jacobian(outputs)(open_gates(structure, 1))
    found, expected = (
        np.concatenate([np.asarray(values(each)).ravel() for each in structure.sublayers])
        for values in (
            lambda each: seen[each.name].mean(0),
            lambda each: np.square(moved[each.name]).sum((0, 1)),
        )
    )
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=0.05)
    assert expected.max() / expected.sum() < 0.95


def test_a_stage_compiles_once_and_gates_change_no_step():
    """Beside the same masks that nobody observes."""
    pruning = prune("hybrid", (3, 2), steps=4)
    optimizer = make_optimizer(steps=4, warmup_steps=0, learning_rate=1e-2)
    head, found = HEADS["classification"], []
    quiet = pruning.method._replace(observe=None, update=lambda state, params, *_: (state, params))
    for method in (pruning.method, quiet):
        recipe = Recipe(STILL, TRAINED, head, pruning._replace(method=method), optimizer)
        step = make_train_step(recipe)
        state = init_state(make_params(STILL), recipe.pruning, optimizer, jax.random.key(0))
        state, first = step(state, make_batch())
        for seed in (1, 2, 3):
            state, last = step(state, make_batch(seed=seed))
        assert step.compilations() == 1
        found.append((float(first["loss"]), float(last["density"])))
    assert found[0][0] == found[1][0]
    assert found[0][1] < found[1][1] == 1.0


def test_the_masks_of_an_earlier_run_are_where_it_starts():
    pattern, method, state, _ = start("struct", (1, 1))
    values = method.masks(state, {}, scheduled(density=0.3), None)
    closed = method.closed(state, values)
    for density in (1.0, 0.3):
        again = method.masks(closed, {}, scheduled(density=density), None)
        assert all((again[k] == values[k]).all() for k in values)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("block", {}, "the pattern is block: expected one that removes units, struct or hybrid"),
        ("unstructured", {}, "the pattern is unstructured"),
        ("struct", {"cuts": 0}, "cuts is 0: expected a number at least 1"),
        ("struct", {"memory": 0}, "memory is 0"),
    ],
)
def test_what_the_method_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_method("fisher", pattern_of(name, (4, 4), CONFIG), **options)


def test_blocks_that_reach_over_two_heads_are_refused():
    with pytest.raises(ValueError, match="blocks of 4x3: expected 3 to divide the size of a head"):
        priced(pattern_of("hybrid", (4, 3), CONFIG))
