"""What a config takes from other finished runs: weights and scores, or the heads they kept."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpjax.config import first_difference
from bpjax.config.fields import to_json_values
from bpjax.config.sections import PruningSection
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import make_pattern
from bpjax.pruning.structure import Structure
from bpjax.workdir import earlier_run, load_arrays


def kept_heads(rewind: str, structure: Structure) -> dict[str, Any]:
    """Which heads a finished run of the same model kept, by sublayer.

    Args:
      rewind: `config.prune.rewind`, the run's workdir.
      structure: of the model.

    Raises:
      UserError: no such run, or one of another model.
    """
    workdir = Path(rewind)
    with earlier_run("prune.rewind", workdir, "a finished run of the same model") as config:
        options = config["pruning"]
        values = load_arrays(workdir / "prune" / "masks.safetensors")
        pattern = make_pattern(
            options["pattern"], structure, tuple(options["block"]), options["block_rules"]
        )
        if values.keys() != {group.name for group in pattern.groups}:
            raise ValueError("its model has other layers")
        units = kept_units(structure, pattern, values).units
        return {x.name: units[x.name] for x in structure.sublayers if x.mixes}


@contextlib.contextmanager
def fine_pruned(source: str, pruning: PruningSection) -> Iterator[Path]:
    """Yields the prune stage's folder of another run, for the block to read.

    Args:
      source: `config.prune.source`, that run's workdir.
      pruning: of this run, which must be that one's.

    Raises:
      UserError: no such run, or one that pruned in another way.
    """
    workdir = Path(source)
    kind = "a run that fine-pruned the same model in the same way"
    with earlier_run("prune.source", workdir, kind) as theirs:
        # Fields that it lacks have their defaults already.
        if first_difference(theirs["pruning"], to_json_values(pruning), {}):
            raise ValueError("its config.pruning is another")
        yield workdir / "prune"
