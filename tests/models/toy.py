"""A toy architecture: grouped heads that read a second stream, a gated FFN, no biases.

All that bpjax needs to know of it stands here: see CONTRIBUTING, "Add an architecture".
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from bpjax.models.architecture import Architecture, Outputs, Stored
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS, Input
from bpjax.models.layers.attention import attend
from bpjax.models.layers.linear import Linear
from bpjax.models.sizes import SHRUNKEN_KEY, from_json, to_json
from bpjax.pruning.structure import GATED, VALUE, Kernel, Stream, Structure, Sublayer, sizes_of


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    groups: tuple[tuple[int, ...], ...] = ((2, 2), (2, 2))  # heads that share keys, by layer
    ffn: tuple[int, ...] = (6, 6)
    hidden: int = 8
    memory: int = 4
    head_dim: int = 2
    vocab_size: int = 20
    max_positions: int = 32
    dtype: str = "float32"
    head: str = "classification"
    num_labels: int = 3
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    initializer_range: float = 0.02
    remat: bool = False
    quantization: None = None
    model_type: str = "toy"
    product_dtype = activation_dtype = property(lambda self: self.dtype)

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)


class Toy(nn.Module):
    config: ToyConfig

    @nn.compact
    def __call__(
        self,
        input_ids,
        attention_mask,
        deterministic=True,
        hidden_states=False,
    ):
        config = self.config
        x = nn.Embed(config.vocab_size, config.hidden, name="word")(input_ids)
        memory = nn.Embed(config.vocab_size, config.memory, name="memory")(input_ids)
        for i in range(len(config.ffn)):
            x = x + Layer(config, i, name=f"layer_{i}")(x, memory, attention_mask)
        logits = Linear(config.num_labels, config, use_bias=False, name="head")(x[:, 0])
        return Outputs(x, logits)


class Layer(nn.Module):
    config: ToyConfig
    number: int

    @nn.compact
    def __call__(self, x, memory, mask):
        config, out = self.config, 0.0
        groups, size = config.groups[self.number], config.ffn[self.number]

        def linear(features, name):
            return Linear(features, config, use_bias=False, name=name)

        if groups:
            heads = sum(groups)
            query = linear(heads * config.head_dim, "query")(x)
            query, key, value = (
                y.reshape(*mask.shape, -1, config.head_dim)
                for y in (
                    query,
                    linear(len(groups) * config.head_dim, "key")(memory),
                    linear(len(groups) * config.head_dim, "value")(memory),
                )
            )
            key, value = (
                jnp.repeat(y, jnp.array(groups), axis=2, total_repeat_length=heads)
                for y in (key, value)
            )
            mixed = attend(query, key, value, mask)
            out = linear(config.hidden, "output")(mixed.reshape(*mask.shape, -1))
        if size:
            gate, up = linear(size, "gate")(x), linear(size, "up")(x)
            out = out + linear(config.hidden, "down")(jax.nn.silu(gate) * up)
        return out * jnp.ones_like(x)


def describe(config):
    sublayers = []
    for i, (groups, size) in enumerate(zip(config.groups, config.ffn, strict=True)):
        name, dim = f"layer_{i}", config.head_dim
        reads = (
            Kernel("query", (name, "query"), dim),
            Kernel("key", (name, "key"), dim, grouped=True, stream="memory"),
            Kernel("value", (name, "value"), dim, grouped=True, stream="memory"),
        )
        write = Kernel("output", (name, "output"), dim)
        sublayers.append(
            Sublayer(
                f"{name}/cross_attention",
                "cross_attention",
                sum(groups),
                reads,
                write,
                VALUE,
                groups,
                mixes=2 * dim,
            )
        )
        gated = tuple(Kernel(role, (name, role)) for role in ("gate", "up"))
        down = Kernel("down", (name, "down"))
        sublayers.append(Sublayer(f"{name}/ffn", "ffn", size, gated, down, GATED))
    streams = {
        "hidden": Stream(config.hidden, tables=(("word",),), readers=(("head",),)),
        "memory": Stream(config.memory, tables=(("memory",),)),
    }
    return Structure(tuple(sublayers), streams)


def resize(config, sizes):
    layers, units = range(len(config.ffn)), sizes.units
    groups = tuple(units[f"layer_{i}/cross_attention"] or () for i in layers)
    return config.replace(groups=groups, ffn=tuple(units[f"layer_{i}/ffn"] for i in layers))


def tensors(config):
    table = {
        "word/embedding": Stored("word.weight", (config.vocab_size, config.hidden)),
        "memory/embedding": Stored("memory.weight", (config.vocab_size, config.memory)),
        "head/kernel": Stored(
            "head.weight", (config.hidden, config.num_labels), "transpose", fresh="any"
        ),
    }
    structure = describe(config)
    for sublayer in structure.sublayers:
        for kernel in sublayer.kernels:
            name = "wi" if kernel.role in ("gate", "up") else kernel.role  # which lie end to end
            units = len(sublayer.groups) if kernel.grouped else sublayer.units
            size = structure.streams[kernel.stream].size, units * kernel.width
            shape = size[::-1] if kernel == sublayer.write else size
            table["/".join((*kernel.path, "kernel"))] = Stored(
                f"{kernel.path[0]}.{name}.weight", shape, "transpose"
            )
    return table


def write(config):
    return {
        "model_type": "toy",
        "hidden": config.hidden,
        "memory": config.memory,
        "architectures": ["ToyForSequenceClassification"],
        "num_labels": config.num_labels,
        SHRUNKEN_KEY: {"sizes": to_json(sizes_of(describe(config)))},
    }


def read(data, head, num_labels, where):
    config = ToyConfig(hidden=data["hidden"], memory=data["memory"], num_labels=data["num_labels"])
    structure = describe(config)
    names = [sublayer.name for sublayer in structure.sublayers]
    sizes = from_json(data[SHRUNKEN_KEY]["sizes"], names, list(structure.streams), where)
    return resize(config, sizes)


TOY = Architecture(
    model_types=("toy",),
    read=read,
    write=write,
    build=Toy,
    describe=describe,
    resize=resize,
    dense=lambda config: None,
    pad=lambda config: config,
    inputs=lambda config: (
        Input(INPUT_IDS, ("length",), below=config.vocab_size),
        Input(ATTENTION_MASK, ("length",)),
    ),
    tensors=tensors,
    owned=lambda config: ("layer_",),
    unread=lambda config: (),
    heads=lambda model_type: {
        "none": "ToyModel",
        "classification": "ToyForSequenceClassification",
    },
    approximations={},
    tiny=ToyConfig,
)
