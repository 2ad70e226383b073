"""The folder of a masked model: what prune leaves, and shrink and the report read.

`params.safetensors` has the unmasked parameters, `masks.safetensors` a value for each block, by
group name, and `scores.safetensors` what the method learnt. `model.json` is the config of the model
before removal, its approximations done, as a config.json says it.
"""

from pathlib import Path
from typing import NamedTuple

from bpjax.config import RunConfig
from bpjax.distributed import write_once
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import read_config, write_config
from bpjax.pruning.patterns import Scores
from bpjax.stages.base import Inputs
from bpjax.stages.recipe import approximations_of
from bpjax.stages.removal import Removal, removal_of
from bpjax.training.approximations import finished
from bpjax.workdir import load_arrays, save_arrays

MODEL = "model.json"


class Masked(NamedTuple):
    """A masked model.

    Attributes:
      model: its config, of the sizes before removal.
      params: unmasked.
      values: of the masks, by group name.
      removal: of what they leave nothing of.
    """

    model: Config
    params: dict
    values: Scores
    removal: Removal


def write_masked(folder: Path, model: Config, params: dict, values: Scores, learned: dict) -> None:
    """Writes the folder.

    Args:
      folder: of the stage.
      model: before removal.
      params: unmasked.
      values: of the masks.
      learned: the method's scores, if it has any.
    """
    write_once(save_arrays, folder / "params.safetensors", params)
    write_once(save_arrays, folder / "masks.safetensors", dict(values))
    if learned:
        write_once(save_arrays, folder / "scores.safetensors", learned)
    write_once(write_config, folder / MODEL, model)


def read_masked(inputs: Inputs, config: RunConfig, folder: Path) -> Masked:
    """Reads the folder; one from before `model.json` goes by the source it was pruned from.

    Raises:
      UserError: that source cannot be read any more.
    """
    path, dtype = folder / MODEL, config.model.dtype
    if path.exists():
        model = read_config(path).replace(dtype=dtype)
    else:
        source, _ = inputs.pretrained(config.model, config.seed)
        model = finished(source, approximations_of(config.pruning))
    params, values = (load_arrays(folder / f"{name}.safetensors") for name in ("params", "masks"))
    return Masked(model, params, values, removal_of(config, model))
