"""Block pruning as pure functions over pytrees of arrays; knows nothing of Flax, files or configs."""
