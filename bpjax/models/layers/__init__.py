"""Layers that any architecture may use, with masks optional."""
