"""Block pruning as pure functions over pytrees of arrays: no Flax, no files, no configs.

The names below are what a loop of one's own is made of (docs/reference/python.md); they stay where
they are when the modules that they come from change.
"""

from bpjax.pruning.methods import make_method as make_method
from bpjax.pruning.patterns import apply_masks as apply_masks
from bpjax.pruning.patterns import build_mask_collection as build_mask_collection
from bpjax.pruning.patterns import make_pattern as make_pattern
from bpjax.pruning.schedules import ScheduleValues as ScheduleValues
from bpjax.pruning.schedules import cubic as cubic
from bpjax.pruning.structure import Kernel as Kernel
from bpjax.pruning.structure import Stream as Stream
from bpjax.pruning.structure import Structure as Structure
from bpjax.pruning.structure import Sublayer as Sublayer
from bpjax.pruning.summary import summarize as summarize
from bpjax.pruning.surgery import shrink as shrink
