"""The stages of the corridor: each reads what the one before it wrote."""
