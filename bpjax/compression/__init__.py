"""From a model and a table to smaller models: the pipeline, with a config that it writes itself."""

from bpjax.compression.run import Compressed as Compressed
from bpjax.compression.run import compress as compress
