"""The main job on the embedded task: MiniLM learns to answer questions, then loses half of itself.

Command:  make quickstart
Hardware: 2 CPU cores.
"""

from bpjax.config import default_config


def get_config():
    config = default_config(task="embedded")
    return config
