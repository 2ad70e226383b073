"""What surgery leaves of a masked model: its cost and the cut itself, which must agree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bpjax import models
from bpjax.config import RunConfig
from bpjax.models.architecture import Config
from bpjax.pruning import surgery
from bpjax.pruning.costs import Cost
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods.base import Method
from bpjax.pruning.patterns import Pattern, Scores, apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.structure import Structure
from bpjax.pruning.summary import SublayerSummary, summarize


class Removal(NamedTuple):
    """Removes what masks leave nothing of.

    Attributes:
      structure: of the model before.
      pattern: of the masks.
      round_to: see `surgery.shrink`.
    """

    structure: Structure
    pattern: Pattern
    round_to: int

    @property
    def narrows(self) -> bool:
        """Whether dimensions of the hidden state may go, too."""
        return bool(self.pattern.streams)

    def fraction(self, cost: Cost) -> Callable[[Scores], jax.Array]:
        """From mask values to the cost of what is left, over the whole model's."""
        return lambda values: cost.fraction(
            self.structure, kept_units(self.structure, self.pattern, values), self.round_to
        )

    def priced(self, method: Method, cost: Cost) -> Method:
        """The method, told what units cost if it finds by itself what to keep.

        Raises:
          ValueError: blocks that it refuses.
        """
        return method.priced(self.structure, cost, self.round_to) if method.priced else method

    def masks(self, values: Scores) -> dict:
        """The collection `masks`, as the modules read it."""
        return build_mask_collection(self.pattern, values)

    def cut(self, model: Config, params: dict, values: Scores) -> tuple[Any, dict]:
        """The small model.

        Args:
          model: before.
          params: of that model, unmasked.
          values: of its masks.

        Returns:
          Its config and parameters.
        """
        small = surgery.shrink(
            apply_masks(params, self.masks(values)),
            self.structure,
            round_to=self.round_to,
            rank_by=params,
            streams=kept_units(self.structure, self.pattern, values).streams,
        )
        return models.resize(model, small.sizes), small.params

    def summarize(self, params: dict, values: Scores) -> list[SublayerSummary]:
        """What the masks leave, by sublayer, before the cut."""
        return summarize(apply_masks(params, self.masks(values)), self.structure)


def removal_of(config: RunConfig, model: Config) -> Removal:
    """That of a config, over a model.

    Raises:
      ValueError: a rule of `pruning.block_rules` that fits no kernel.
    """
    pruning, structure = config.pruning, models.describe(model)
    pattern = make_pattern(pruning.pattern, structure, pruning.block, pruning.block_rules)
    return Removal(structure, pattern, config.shrink.round_to)
