"""An encoder-decoder in ONNX: three files with the names of optimum, any of which runs alone.

`encoder_model.onnx` reads a source. `decoder_model.onnx` reads the beginning of a text and gives,
beside logits, what each layer keeps of it and of the source, `present.N.decoder.key` and so on.
`decoder_with_past_model.onnx` reads one more token and what was kept, `past_key_values.N.…`; what
was kept of the source stays as it was. The layers of a pruned model keep as many heads as they
have. One without heads keeps one of size 1, of zeros, so that each has its four entries, by whose
order optimum counts, and the first its length.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.exports.onnx_graph import Graph, import_package, start_session
from bpjax.exports.outputs import DECODER_IDS
from bpjax.models.architecture import Config
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS

ENCODER, DECODER, LATER = (
    f"{name}_model.onnx" for name in ("encoder", "decoder", "decoder_with_past")
)
STATES, READ = "encoder_hidden_states", "encoder_attention_mask"
PAST, PRESENT = "past_key_values", "present"


def writer(model: Any, config: Config) -> Iterator[Graph]:
    """The three graphs of a model of transformers that has an encoder and a decoder."""
    torch = import_package("torch")
    most, layers = config.max_positions, len(model.get_decoder().layers)
    batch, source, text, past = (
        torch.export.Dim(name, min=1, max=limit)
        for name, limit in (
            ("batch", None),
            ("encoder_sequence_length", most),
            ("decoder_sequence_length", most),
            ("past_decoder_sequence_length", most - 1),
        )
    )
    read = {INPUT_IDS: torch.zeros((2, min(6, most)), dtype=torch.long)}
    read[ATTENTION_MASK] = torch.ones_like(read[INPUT_IDS])
    written = torch.zeros((2, min(5, most)), dtype=torch.long)
    by_source = {0: batch, 1: source}
    yield Graph(
        ENCODER,
        _encoder(torch, model),
        read,
        dict.fromkeys(read, by_source),
        [*read],
        ["last_hidden_state"],
    )
    with torch.no_grad():
        states = _encoder(torch, model)(**read)
    given = {INPUT_IDS: written, READ: read[ATTENTION_MASK], STATES: states}
    decoder = _decoder(torch, model)
    yield Graph(
        DECODER,
        decoder,
        given,
        {INPUT_IDS: {0: batch, 1: text}, READ: by_source, STATES: by_source},
        [*given],
        ["logits", *_names(PRESENT, layers, ("decoder", "encoder"))],
    )
    with torch.no_grad():
        _, *kept = decoder(**given | {INPUT_IDS: written[:, :-1]})
    given = {INPUT_IDS: written[:, -1:], READ: given[READ], "past": kept}
    by_past = {0: batch, 2: past}
    yield Graph(
        LATER,
        _later_decoder(torch, model),
        given,
        {
            INPUT_IDS: {0: batch},
            READ: by_source,
            "past": [by_past, by_past, {0: batch, 2: source}, {0: batch, 2: source}] * layers,
        },
        [INPUT_IDS, READ, *_names(PAST, layers, ("decoder", "encoder"))],
        ["logits", *_names(PRESENT, layers, ("decoder",))],
    )


def _names(start: str, layers: int, stacks: Sequence[str]) -> list[str]:
    return [
        f"{start}.{i}.{stack}.{part}"
        for i in range(layers)
        for stack in stacks
        for part in ("key", "value")
    ]


def _encoder(torch: Any, model: Any) -> Any:
    class Encoder(torch.nn.Module):
        config = model.config

        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.get_encoder()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.encoder(input_ids, attention_mask).last_hidden_state

    return Encoder().eval()


def _decoder(torch: Any, model: Any) -> Any:
    class Decoder(torch.nn.Module):
        config = model.config

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: Any, encoder_attention_mask: Any, encoder_hidden_states: Any
        ) -> tuple[Any, ...]:
            found = self.model(
                attention_mask=encoder_attention_mask,
                encoder_outputs=(encoder_hidden_states,),
                decoder_input_ids=input_ids,
                use_cache=True,
            )
            kept = found.past_key_values
            layers = zip(
                kept.self_attention_cache.layers, kept.cross_attention_cache.layers, strict=True
            )
            both = [(x.keys, x.values, y.keys, y.values) for x, y in layers]
            return (found.logits, *(each for layer in both for each in layer))

    return Decoder().eval()


def _later_decoder(torch: Any, model: Any) -> Any:
    transformers = import_package("transformers")

    class LaterDecoder(torch.nn.Module):
        config = model.config

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: Any, encoder_attention_mask: Any, past: Any
        ) -> tuple[Any, ...]:
            own, read = transformers.DynamicCache(), transformers.DynamicCache()
            for i in range(len(past) // 4):
                own.update(*past[4 * i : 4 * i + 2], i)
                read.update(*past[4 * i + 2 : 4 * i + 4], i)
            found = self.model(
                attention_mask=encoder_attention_mask,
                # Of which only the size is asked: its keys and values are there.
                encoder_outputs=(past[2].new_zeros(*encoder_attention_mask.shape, 1),),
                decoder_input_ids=input_ids,
                past_key_values=transformers.EncoderDecoderCache(own, read),
                use_cache=True,
            )
            kept = found.past_key_values.self_attention_cache.layers
            return (found.logits, *(each for x in kept for each in (x.keys, x.values)))

    return LaterDecoder().eval()


def open_writer(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, in ONNX Runtime on CPU: what follows each token of a text, see `outputs`.

    The first two tokens are given at once, and then one by one.
    """
    encoder, decoder, later = (start_session(folder / name) for name in (ENCODER, DECODER, LATER))

    def run(session: Any, given: dict[str, Any]) -> dict[str, Any]:
        names = [each.name for each in session.get_outputs()]
        wanted = {each.name: given[each.name] for each in session.get_inputs()}
        return dict(zip(names, session.run(None, wanted), strict=True))

    def write(batch: dict[str, Any]) -> np.ndarray:
        ids, mask, text = (
            np.asarray(batch[name], np.int64) for name in (INPUT_IDS, ATTENTION_MASK, DECODER_IDS)
        )
        (states,) = run(encoder, {INPUT_IDS: ids, ATTENTION_MASK: mask}).values()
        given, session, answers = {READ: mask, STATES: states}, decoder, []
        for tokens in (text[:, :2], *(text[:, i : i + 1] for i in range(2, text.shape[1]))):
            found = run(session, given | {INPUT_IDS: tokens})
            answers.append(found.pop("logits"))
            given |= {name.replace(PRESENT, PAST): value for name, value in found.items()}
            session = later
        return np.concatenate(answers, axis=1)

    return write
