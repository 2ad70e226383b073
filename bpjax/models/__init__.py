"""Flax modules of transformers whose layers need not be alike, with masks optional."""
