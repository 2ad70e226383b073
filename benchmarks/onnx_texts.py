"""Greedy and beam search over an exported encoder-decoder, where no text ends before the others."""

from pathlib import Path
from typing import Any

import numpy as np

from bpjax.exports.onnx_graph import start_session
from bpjax.exports.onnx_writer import DECODER, ENCODER, LATER, PAST, PRESENT, READ, STATES
from bpjax.models.generation import Generation
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS
from bpjax.report.environment import count_cores


class OnnxWriter:
    """The three files in ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        """Starts them."""
        cores = count_cores()
        self.encoder, self.decoder, self.later = (
            start_session(folder / name, cores) for name in (ENCODER, DECODER, LATER)
        )

    def __call__(self, batch: dict[str, Any], settings: Generation) -> np.ndarray:
        """Texts `[sources, max_length]`; `min_length` is taken to be as much."""
        beams, ends = settings.num_beams, list(settings.eos_token_id)
        ids, mask = (np.asarray(batch[name], np.int64) for name in (INPUT_IDS, ATTENTION_MASK))
        (states,) = self.encoder.run(None, {INPUT_IDS: ids, ATTENTION_MASK: mask})
        given, session = {READ: mask, STATES: states}, self.decoder
        texts = np.full((len(ids), 1, 1), settings.decoder_start_token_id)
        sums = np.zeros((len(ids), 1), np.float32)
        while texts.shape[-1] < settings.max_length:
            held = texts.shape[1]  # one before the first choice
            scores, kept = _step(session, given | {INPUT_IDS: texts[..., -1].reshape(-1, 1)})
            given, session = given | kept, self.later
            scores[:, ends] = -np.inf
            if beams > 1:
                scores = scores - _log_sum(scores)
            scores = scores.reshape(len(ids), held, -1)
            vocabulary = scores.shape[-1]
            scores = (scores + sums[..., None] * (beams > 1)).reshape(len(ids), -1)
            best = np.argpartition(scores, -beams, axis=1)[:, -beams:]
            sums = np.take_along_axis(scores, best, axis=1)
            beam, token = best // vocabulary, best % vocabulary
            texts = np.take_along_axis(texts, beam[..., None], axis=1)
            texts = np.concatenate([texts, token[..., None]], axis=-1)
            if beams > 1:
                rows = (np.arange(len(ids))[:, None] * held + beam).reshape(-1)
                # What was read is the same for all beams of a source.
                given = {
                    name: value[rows] if held < beams or ".decoder." in name else value
                    for name, value in given.items()
                }
        return texts[np.arange(len(ids)), sums.argmax(1)]


def _step(session: Any, given: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Scores of the next token, and what is then kept, as the next step is given it."""
    names = [each.name for each in session.get_outputs()]
    wanted = {each.name: given[each.name] for each in session.get_inputs()}
    found = dict(zip(names, session.run(None, wanted), strict=True))
    logits = found.pop("logits")[:, -1]
    return logits, {name.replace(PRESENT, PAST): value for name, value in found.items()}


def _log_sum(scores: np.ndarray) -> np.ndarray:
    most = scores.max(-1, keepdims=True)
    return most + np.log(np.exp(scores - most).sum(-1, keepdims=True))
