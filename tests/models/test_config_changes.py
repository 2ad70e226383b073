"""Every field of config.json is read, refused, or of no effect, as PyTorch's answers say."""

import json
import pathlib

import numpy as np
import pytest
import transformers
from config_changes import answer, base, cases, change

from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.bert.fields import READ, TAKEN, WITHOUT_EFFECT

RECORDED = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "config_changes.json").read_text()
)
REFUSED = {
    "tanh": "is 'tanh'",
    "decoder": "is_decoder is True",
    "by layer": "per_layer_config is",
    "electra embedding": "electra.embeddings_project.bias has no place",
}


@pytest.mark.parametrize("family", ENCODERS)
def test_every_field_of_transformers_has_its_place(family):
    encoder = ENCODERS[family]
    named = {*encoder.fields.values(), *encoder.aliases, *READ, *TAKEN, *WITHOUT_EFFECT}
    named |= {name for name, _ in encoder.head_dropout.values()}
    config = transformers.CONFIG_MAPPING[family]()
    assert not set(config.to_dict()) - named
    assert not set(config.attribute_map) - named
    assert not set(TAKEN) & set(WITHOUT_EFFECT) and not set(READ) & set(WITHOUT_EFFECT)


@pytest.mark.parametrize(("name", "family", "head", "changes"), [*cases()])
def test_a_changed_file_gives_pytorchs_answer_or_is_refused(tmp_path, name, family, head, changes):
    base(tmp_path, family, head)
    change(tmp_path, **changes)
    found, kind = answer(tmp_path), name.partition(" ")[2]
    if refusal := REFUSED.get(kind, REFUSED.get(name)):
        assert refusal in found
        return
    # Wrapped, PyTorch finds no tensor and draws all of them.
    expected = RECORDED[f"{family} as it is" if kind == "wrapped" else name]
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-5)
