"""The functions of `import bpjax`: what most people need, each in one call."""
