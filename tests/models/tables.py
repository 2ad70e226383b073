"""A toy decoder: logits from a table, by a number that all tokens so far have a part in."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from toy import TOY

from bpjax.models.architecture import Stored
from bpjax.models.generation import Cache, Decoder, Generation
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS, LABEL, TARGET_LENGTH, Input
from bpjax.pruning.structure import Structure

STATES = 97
SOURCE = 5  # tokens of each
CLASS = "TableForConditionalGeneration"


@dataclasses.dataclass(frozen=True)
class TableConfig:
    vocab_size: int = 11
    max_positions: int = 40
    prompt: int = 1  # tokens that a text starts with
    generation: Generation = Generation(decoder_start_token_id=2, eos_token_id=(3,), pad_token_id=0)
    model_type: str = "table"
    head: str = "seq2seq"
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    initializer_range: float = 0.02
    quantization: None = None
    dtype: str = "float32"
    num_labels = property(lambda self: self.vocab_size)

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)


def table(config, seed=0):
    """Parameters: the logits of each state."""
    noise = np.random.default_rng(seed).normal(size=(STATES, config.vocab_size))
    return {"table": jnp.asarray(2.5 * noise, jnp.float32)}


def prompt_of(config, batch):
    """The start token, and then tokens of the source."""
    rows, start = batch[INPUT_IDS].shape[0], config.generation.decoder_start_token_id
    first = jnp.full((rows, 1), start, jnp.int32)
    return jnp.concatenate([first, batch[INPUT_IDS][:, : config.prompt - 1]], axis=1)


def after(state, token):
    return (31 * state + 7 * token + 1) % STATES


def start(config, variables, batch, length):
    del variables, length
    told = jnp.where(batch[ATTENTION_MASK] > 0, batch[INPUT_IDS], 0).sum(1) % STATES
    own = jnp.zeros_like(told)
    for token in prompt_of(config, batch)[:, :-1].T:
        own = after(own, token)
    return Cache(own={"state": own}, shared=told)


def step(config, variables, tokens, position, cache):
    rows = tokens.reshape(-1)
    own = after(cache.own["state"], rows)
    told = jnp.repeat(cache.shared, tokens.shape[1])
    places = (own + told + position) % STATES
    logits = variables["params"]["table"][places].reshape(*tokens.shape, config.vocab_size)
    return logits, cache._replace(own={"state": own})


def read(data, head, num_labels, where):
    return TableConfig(data["vocab_size"], data["max_position_embeddings"])


TABLE = TOY._replace(
    model_types=("table",),
    read=read,
    write=lambda config: {
        "model_type": "table",
        "architectures": [CLASS],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_positions,
    },
    describe=lambda config: Structure((), {}),
    tensors=lambda config: {"table": Stored("table", (STATES, config.vocab_size))},
    owned=lambda config: (),
    heads=lambda model_type: {"none": "Table", "seq2seq": CLASS},
    inputs=lambda config: (
        Input(INPUT_IDS, ("length",), below=config.vocab_size),
        Input(ATTENTION_MASK, ("length",)),
        Input(LABEL, (TARGET_LENGTH,), fill=-100, below=config.vocab_size),
    ),
    decoder=Decoder(lambda config: config.generation, prompt_of, start, step),
    tiny=TableConfig,
)


def sources(config, rows, seed=0):
    """A batch of sources."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, config.vocab_size, (rows, SOURCE)).astype(np.int32)
    lengths = generator.integers(3, SOURCE + 1, (rows, 1))
    return {INPUT_IDS: ids, ATTENTION_MASK: (np.arange(SOURCE) < lengths).astype(np.int32)}


def logits_of(config, params, ids, mask, text):
    """The logits of what follows a text, of one source: no cache, no beams."""
    state = 0
    for token in text:
        state = after(state, int(token))
    told = int(np.where(mask, ids, 0).sum()) % STATES
    place = (state + told + len(text) - 1) % STATES
    return np.asarray(jax.device_get(params["table"]), np.float64)[place]
