"""Greedy and beam search of a toy decoder against a search with lists, and against all texts."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import refused
from reference import log_softmax, search
from tables import TABLE, TableConfig, logits_of, sources, table

from bpjax import models
from bpjax.generation import generate, write
from bpjax.generation.search import _search
from bpjax.models.generation import Generation
from bpjax.models.inputs import ATTENTION_MASK, INDEX, INPUT_IDS

ROWS = 24
ALL_AT_ONCE = {
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 2,
    "repetition_penalty": 1.3,
    "bad_words_ids": ((9,), (3,), (4, 5), (7, 8), (6, 4, 10)),
    "suppress_tokens": (0, 10),
    "begin_suppress_tokens": (5, 6),
    "min_length": 5,
    "max_length": 14,
    "renormalize_logits": True,
}
CASES = {
    "greedy": {},
    "greedy, all at once": {**ALL_AT_ONCE, "forced_bos_token_id": 7, "forced_eos_token_id": (3,)},
    "beams": {"num_beams": 4},
    "beams, long": {"num_beams": 3, "length_penalty": 1.4, "max_length": 25, "min_length": 6},
    "beams, short": {"num_beams": 3, "length_penalty": -1.0, "early_stopping": True},
    "beams, never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.7},
    "beams, no penalty": {"num_beams": 2, "length_penalty": 0, "early_stopping": "never"},
    "beams, first": {"num_beams": 4, "early_stopping": True, "max_new_tokens": 9},
    "beams, two ends": {"num_beams": 3, "eos_token_id": (3, 8), "min_new_tokens": 4},
    "beams, no end": {"num_beams": 2, "eos_token_id": (), "max_length": 9},
    "beams, forced": {
        "num_beams": 4,
        "forced_bos_token_id": 5,
        "forced_eos_token_id": (3, 6),
        "max_length": 8,
        "no_repeat_ngram_size": 3,
    },
    "beams, single tokens": {"num_beams": 2, "no_repeat_ngram_size": 1, "max_length": 7},
    "beams, all at once": {**ALL_AT_ONCE, "num_beams": 3},
    "beams, a prompt": {
        "num_beams": 3,
        "prompt": 3,
        "forced_bos_token_id": 5,
        "begin_suppress_tokens": (4, 5),
        "min_new_tokens": 2,
        "no_repeat_ngram_size": 2,
    },
    "greedy, a prompt": {"prompt": 4, "repetition_penalty": 0.8},
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(models.ARCHITECTURES, "table", TABLE)


def config_of(prompt=1, **settings):
    config = TableConfig(prompt=prompt)
    return config.replace(generation=config.generation.replace(**settings))


def cut(tokens, prompt, ends):
    """A text without what follows its end, which must all be filling."""
    stop = next((i + 1 for i in range(prompt, len(tokens)) if tokens[i] in ends), len(tokens))
    assert set(tokens[stop:].tolist()) <= {0}
    return tuple(tokens[:stop].tolist())


@pytest.mark.parametrize("case", CASES)
def test_finds_what_a_search_with_lists_finds(case):
    config = config_of(**CASES[case])
    settings, params, batch = config.generation, table(config), sources(config, ROWS)
    shortest, longest = settings.lengths(config.prompt, config.max_positions)
    found = generate(config, {"params": params}, batch)
    assert found.tokens.shape == (ROWS, longest) and found.tokens.dtype == jnp.int32
    lengths = set()
    for row in range(ROWS):
        ids, mask = batch[INPUT_IDS][row], batch[ATTENTION_MASK][row]
        prompt = (settings.decoder_start_token_id, *ids[: config.prompt - 1].tolist())
        expected, score = search(
            lambda text, i=ids, m=mask: logits_of(config, params, i, m, text),
            prompt,
            ids[mask > 0].tolist(),
            settings,
            shortest,
            longest,
        )
        tokens = cut(np.asarray(found.tokens[row]), len(prompt), settings.eos_token_id)
        assert tokens == expected, row
        assert found.scores[row] == pytest.approx(score, rel=1e-4, abs=1e-5)
        lengths.add(len(tokens))
    if settings.eos_token_id and case != "beams, single tokens":
        assert len(lengths) > 1  # some end sooner than others


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_enough_beams_find_the_best_of_all_texts(penalty):
    config = config_of(
        num_beams=128,
        max_length=5,
        length_penalty=penalty,
        early_stopping="never",
        eos_token_id=(1,),
        decoder_start_token_id=0,
        pad_token_id=0,
    ).replace(vocab_size=4)
    params = table(config)
    batch = {INPUT_IDS: np.array([[2, 3, 2], [3, 1, 0]], np.int32)}
    batch[ATTENTION_MASK] = np.array([[1, 1, 1], [1, 1, 0]], np.int32)
    found = generate(config, {"params": params}, batch)
    for row in range(2):
        texts = {}
        for tokens in itertools.product(range(4), repeat=4):
            end = next((i + 1 for i, token in enumerate(tokens) if token == 1), 4)
            text, total = (0,), 0.0
            for token in tokens[:end]:
                logits = logits_of(
                    config, params, batch[INPUT_IDS][row], batch[ATTENTION_MASK][row], text
                )
                text, total = (*text, token), total + log_softmax(logits)[token]
            texts[text] = total / end**penalty
        best = max(texts, key=texts.get)
        assert cut(np.asarray(found.tokens[row]), 1, (1,)) == best
        assert found.scores[row] == pytest.approx(texts[best], rel=1e-4)


def test_a_row_does_not_see_the_others():
    config = config_of(num_beams=3, early_stopping="never")
    params, batch = {"params": table(config)}, sources(config, 6)
    whole = generate(config, params, batch)
    for row in range(6):
        alone = generate(config, params, {k: v[row : row + 1] for k, v in batch.items()})
        np.testing.assert_array_equal(alone.tokens[0], whole.tokens[row])
        np.testing.assert_allclose(alone.scores[0], whole.scores[row], rtol=1e-6)


def test_values_that_are_no_numbers_are_removed():
    config = config_of(remove_invalid_values=True, max_length=6, eos_token_id=())
    params = {"table": jnp.full_like(table(config)["table"], jnp.nan).at[:, 4].set(1.0)}
    found = generate(config, {"params": params}, sources(config, 2))
    np.testing.assert_array_equal(found.tokens, [[2, 4, 4, 4, 4, 4]] * 2)


def test_one_program_for_each_shape_and_settings():
    config = config_of(max_length=7)
    params = {"params": table(config)}
    before = _search._cache_size()
    for seed in range(3):
        generate(config, params, sources(config, 4, seed))
    # Neither what else a batch has nor the model's own settings, said once more, change a program.
    batch = sources(config, 4) | {"label": np.zeros((4, seed), np.int32), INDEX: np.arange(4)}
    generate(config, params, batch, config.generation)
    assert _search._cache_size() == before + 1
    generate(config, params, sources(config, 5))
    generate(config, params, batch, config.generation.replace(max_length=8))
    assert _search._cache_size() == before + 3


def test_the_search_ends_with_the_texts():
    """Steps are not taken in vain: a step counts itself in the table's place."""
    config = config_of(eos_token_id=tuple(range(1, 11)), suppress_tokens=(0,), max_length=40)
    steps = []

    def counted(config, variables, tokens, position, cache):
        import jax

        jax.debug.callback(lambda at: steps.append(int(at)), position)
        return TABLE.decoder.step(config, variables, tokens, position, cache)

    counting = TABLE._replace(decoder=TABLE.decoder._replace(step=counted))
    for beams in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(models.ARCHITECTURES, "table", counting)
            other = config.replace(
                generation=config.generation.replace(num_beams=beams, early_stopping=True),
                initializer_range=0.5,  # a program of its own
            )
            steps.clear()
            generate(
                other, {"params": table(config)}, sources(config, 3)
            ).tokens.block_until_ready()
            assert steps == [0]


def test_texts_come_in_the_order_of_the_rows(capsys):
    config = config_of(prompt=2)
    params, batch = table(config), sources(config, 5)
    tokens = np.asarray(generate(config, {"params": params}, batch).tokens)
    order = [3, 0, 4, 1, 2]
    rows = [np.array(order[:3]), np.array([*order[3:], -1])]
    batches = [{k: v[part] for k, v in batch.items()} | {INDEX: part} for part in rows]
    found = write(config, params, batches)
    assert capsys.readouterr().err == ""
    for row, written in zip(tokens, found, strict=True):
        assert tuple(written) == cut(row, 2, (3,))[2:]
    again = write(
        config, params, iter(batches), config.generation.replace(max_new_tokens=1), bar="x"
    )
    assert [tuple(x) for x in again] == [tuple(x[:1]) for x in found]
    assert "x" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams 0: expected at least 1"),
        ({"min_length": 30, "max_length": 20}, "min_length 30: expected a text of at most 20 tok"),
        ({"min_length": -1}, "min_length -1: expected at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0: expected at least 1"),
        ({"eos_token_id": (-1,)}, "eos_token_id -1: expected a token's number"),
        ({"length_penalty": float("nan")}, "length_penalty nan: expected a number from -8 to 8"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0.0: expected a number above 0"),
        ({"early_stopping": "soon"}, "early_stopping 'soon': expected true, false or 'never'"),
        ({"bad_words_ids": ((),)}, "bad_words_ids has a word of no tokens"),
        (
            {"forced_eos_token_id": (3,), "suppress_tokens": (3, 4)},
            r"forced_eos_token_id \[3\]: expected a token that is not in suppress_tokens",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with refused(message):
        Generation(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bad_words_ids": ((4, 11),)}, "bad_words_ids 11: expected a token below 11"),
        ({"eos_token_id": (50256,)}, "eos_token_id 50256: expected a token below 11"),
        ({"max_length": 2}, "max_length 2: expected more than 2, the tokens that a text starts"),
        ({"max_length": 42}, "max_length 42: expected at most 40, for the model has 40 positions"),
        ({"max_new_tokens": 40}, "max_new_tokens 40: expected at most 38"),
        ({"min_length": 9, "max_new_tokens": 6}, "min_length 9: expected a text of at most 8 tok"),
        ({"min_new_tokens": 19, "max_length": 20}, "min_new_tokens 19: expected a text of at mo"),
    ],
)
def test_settings_that_a_model_cannot_follow_are_refused(settings, message):
    config = config_of(prompt=2)
    with refused(message):
        generate(
            config,
            {"params": table(config)},
            sources(config, 2),
            config.generation.replace(**settings),
        )


def test_lengths():
    assert Generation().lengths(1, 40) == (0, 21) == Generation().lengths(1, 21)
    assert Generation().lengths(3, 10) == (0, 10)
    assert Generation(max_length=9, min_length=9).lengths(3, 10) == (9, 9)
    settings = Generation(max_length=9, max_new_tokens=4, min_length=2, min_new_tokens=3)
    assert settings.lengths(3, 10) == (6, 7)
