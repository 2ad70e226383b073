"""The stages of the pipeline: each reads what the one before it wrote."""
