"""Block pruning as pure functions over pytrees of arrays: no Flax, no files, no configs."""
