"""The stages of the pipeline, in their order: each reads what those before it made."""

from bpjax.stages.base import Stage
from bpjax.stages.budget import BUDGET
from bpjax.stages.fill import FILL
from bpjax.stages.measure import MEASURE
from bpjax.stages.prune import PRUNE
from bpjax.stages.quantize import QUANTIZE
from bpjax.stages.shrink import SHRINK
from bpjax.stages.teacher import TEACHER

STAGES: tuple[Stage, ...] = (BUDGET, TEACHER, PRUNE, SHRINK, FILL, QUANTIZE, MEASURE)
"""All of them; a config selects which run."""
