"""The config of a run: every field with its default, what it takes, and what it means.

Configs are written as ConfigDicts of ml_collections; `validate` checks one and gives the typed
records of `sections`, which is all that the stages see.
"""

from bpjax.config.read import default_config as default_config
from bpjax.config.read import default_fields as default_fields
from bpjax.config.read import read_config as read_config
from bpjax.config.read import read_saved as read_saved
from bpjax.config.read import read_sweep as read_sweep
from bpjax.config.read import read_task_options as read_task_options
from bpjax.config.saved import complete as complete
from bpjax.config.saved import first_difference as first_difference
from bpjax.config.sections import RunConfig as RunConfig
from bpjax.config.validate import validate as validate
