"""generation_config.json: every field read, refused or of no effect; written as it was read."""

import json

import pytest
import transformers
from checkpoints import refused
from tables import TABLE, TableConfig, table

from bpjax import models
from bpjax.models.checkpoint import load_pretrained, read_config, save_pretrained, write_config
from bpjax.models.generation import Generation
from bpjax.models.generation_files import (
    READ,
    TAKEN,
    WITHOUT_EFFECT,
    override,
    read_generation,
    write_generation,
)

ALL = Generation(
    decoder_start_token_id=2,
    bos_token_id=0,
    eos_token_id=(2, 7),
    pad_token_id=1,
    num_beams=4,
    max_length=142,
    max_new_tokens=100,
    min_length=56,
    min_new_tokens=50,
    length_penalty=2.0,
    early_stopping="never",
    no_repeat_ngram_size=3,
    encoder_no_repeat_ngram_size=4,
    repetition_penalty=1.2,
    bad_words_ids=((1,), (5, 6)),
    suppress_tokens=(8, 9),
    begin_suppress_tokens=(10,),
    forced_bos_token_id=0,
    forced_eos_token_id=(2,),
    renormalize_logits=True,
    remove_invalid_values=True,
)
# As in facebook/bart-large-cnn before there was a generation_config.json.
CNN = {
    "model_type": "bart",
    "bos_token_id": 0,
    "decoder_start_token_id": 2,
    "early_stopping": True,
    "eos_token_id": 2,
    "force_bos_token_to_be_generated": True,
    "forced_eos_token_id": 2,
    "length_penalty": 2.0,
    "max_length": 142,
    "min_length": 56,
    "no_repeat_ngram_size": 3,
    "num_beams": 4,
    "output_past": True,
    "pad_token_id": 1,
    "prefix": " ",
    "task_specific_params": {"summarization": {"num_beams": 9}},
    "temperature": None,
    "vocab_size": 50264,
}


def write(folder, own=None, **config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    if own is not None:
        (folder / "generation_config.json").write_text(json.dumps(own))
    return path


def test_every_field_of_transformers_has_its_place():
    config = transformers.GenerationConfig()
    known = [*READ, *TAKEN, *WITHOUT_EFFECT]
    assert not {*config.to_dict(), *vars(config)} - {*known, "_original_object_hash"}
    assert not {*config._get_default_generation_params()} - {*known}
    assert len({*known}) == len(known)
    assert {*READ} == {*vars(Generation())}


def test_a_file_comes_back(tmp_path):
    write_generation(tmp_path, ALL)
    assert read_generation(tmp_path / "config.json", 99) == ALL
    write_generation(tmp_path, Generation())
    assert (tmp_path / "generation_config.json").read_text() == "{}\n"
    assert read_generation(tmp_path / "config.json", 99) == Generation()


def test_transformers_reads_the_same(tmp_path):
    write_generation(tmp_path, ALL)
    found = transformers.GenerationConfig.from_pretrained(tmp_path)
    for name in READ:
        expected = json.loads(json.dumps(getattr(ALL, name)))
        assert getattr(found, name) == (2 if name == "forced_eos_token_id" else expected)
    found.save_pretrained(tmp_path / "again")
    assert read_generation(tmp_path / "again" / "config.json", 99) == ALL
    write_generation(tmp_path, Generation())
    assert (
        transformers.GenerationConfig.from_pretrained(tmp_path) == transformers.GenerationConfig()
    )


def test_config_json_is_read_where_there_is_no_other(tmp_path):
    path = write(tmp_path, **CNN)
    found = read_generation(path, 50264)
    assert found == Generation(
        **{key: CNN[key] for key in READ.keys() & CNN.keys() if "eos" not in key},
        eos_token_id=(2,),
        forced_eos_token_id=(2,),
        forced_bos_token_id=0,
    )
    # What it lacks is not what another model of its kind has.
    assert read_generation(write(tmp_path, model_type="bart"), 9) == Generation()
    # Beside the file of its own it says nothing.
    path = write(tmp_path, {"num_beams": 2, "max_length": None}, **CNN)
    assert read_generation(path, 50264) == Generation(num_beams=2)


def test_the_forced_token_of_old_files(tmp_path):
    old = {"bos_token_id": 5, "force_bos_token_to_be_generated": True}
    assert read_generation(write(tmp_path, **old), 9).forced_bos_token_id == 5
    assert read_generation(write(tmp_path, old), 9).forced_bos_token_id is None
    path = write(tmp_path, old | {"_from_model_config": True})
    assert read_generation(path, 9).forced_bos_token_id == 5
    path = write(tmp_path, {"bos_token_id": 5})
    assert read_generation(path, 9) == Generation(bos_token_id=5, decoder_start_token_id=5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"do_sample": True}, "do_sample is True: expected false, for bpjax writes the best"),
        ({"num_beam_groups": 2}, "num_beam_groups is 2: expected 1"),
        ({"constraints": []}, r"constraints is \[\]: expected null"),
        ({"guidance_scale": 1.5}, "guidance_scale is 1.5: expected 1"),
        ({"penalty_alpha": 0.6}, "penalty_alpha is 0.6: expected 0"),
        ({"cache_implementation": "quantized"}, "'quantized': expected \"dynamic\""),
        ({"num_return_sequences": 3}, "num_return_sequences is 3: expected 1"),
        ({"exponential_decay_length_penalty": [3, 1.1]}, r"is \[3, 1.1\]: expected null"),
        ({"num_beams": 4.0}, "num_beams is 4.0: expected a whole number"),
        ({"num_beams": True}, "num_beams is True: expected a whole number"),
        ({"num_beams": 0}, "generation_config.json: num_beams 0: expected at least 1"),
        ({"early_stopping": 1}, "early_stopping is 1: expected true, false or 'never'"),
        ({"length_penalty": "2"}, "length_penalty is '2': expected a number"),
        ({"eos_token_id": [2, -1]}, r"eos_token_id is \[2, -1\]: expected a token's number, or a"),
        ({"decoder_start_token_id": [2, 3]}, "expected a token's number; correct it"),
        ({"bad_words_ids": [1]}, r"bad_words_ids is \[1\]: expected a list of lists of tokens'"),
        ({"suppress_tokens": 1}, "suppress_tokens is 1: expected a list of tokens' numbers"),
        ({"renormalize_logits": "yes"}, "renormalize_logits is 'yes': expected true or false"),
        ({"pad_token_id": 99}, "pad_token_id 99: expected a token below 99, the model's vocab"),
        ({"min_length": 30, "max_length": 20}, "min_length 30: expected a text of at most 20"),
    ],
)
def test_what_would_be_another_text_is_refused(tmp_path, fields, message):
    for own, config in ((fields, {}), (None, fields)):
        folder = tmp_path / ("own" if own else "config")
        folder.mkdir()
        path = write(folder, own, **config)
        with refused(message if own else message.replace("generation_config", "config")):
            read_generation(path, 99)


def test_files_that_are_none_are_refused(tmp_path):
    path = write(tmp_path, {})
    (tmp_path / "generation_config.json").write_text("{")
    with refused("generation_config.json: not JSON"):
        read_generation(path, 99)


def test_fields_without_effect_have_none(tmp_path):
    fields = {"temperature": 0.3, "top_k": 5, "use_cache": False, "transformers_version": "4.1"}
    fields |= {"num_beam_groups": 1, "do_sample": False, "of_its_own": [1], "guidance_scale": 1.0}
    assert read_generation(write(tmp_path, fields), 99) == Generation()


def test_settings_of_a_user():
    found = override(ALL, {"num_beams": 2, "eos_token_id": 3, "early_stopping": None})
    assert found == ALL.replace(num_beams=2, eos_token_id=(3,), early_stopping=False)
    # Who says a length means it, whatever else the model was saved with.
    found = override(ALL, {"max_length": 60, "min_length": 10})
    assert found.lengths(1, 512) == (10, 60)
    assert override(ALL, {"max_new_tokens": 60}).lengths(1, 512) == (51, 61)
    for fields, message in (
        ({"beams": 4}, "generation.beams: expected one of bad_words_ids, "),
        ({"temperature": 0.5}, "generation.temperature: expected one of"),
        ({"do_sample": True}, "generation.do_sample is True: expected false"),
        ({"num_beams": "four"}, "generation.num_beams is 'four': expected a whole number"),
        ({"num_beams": 0}, "generation.num_beams 0: expected at least 1"),
    ):
        with refused(message):
            override(ALL, fields)


def test_a_model_is_saved_with_its_settings(tmp_path, monkeypatch):
    monkeypatch.setitem(models.ARCHITECTURES, "table", TABLE)
    config = TableConfig(generation=ALL.replace(max_new_tokens=9, min_new_tokens=3))
    save_pretrained(tmp_path / "model", config, table(config))
    found, _ = load_pretrained(tmp_path / "model")
    assert found == config
    assert load_pretrained(tmp_path / "model", head="seq2seq")[0] == config
    # Also beside a config of another name, as in a run's folder of a masked model.
    write_config(tmp_path / "model.json", found)
    assert read_config(tmp_path / "model.json") == found
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": 11}')
    with refused("generation_config.json: eos_token_id 11: expected a token below 11"):
        load_pretrained(tmp_path / "model")
