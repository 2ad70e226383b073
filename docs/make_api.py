"""Builds the pages of all modules from their docstrings: python docs/make_api.py FOLDER."""

import pathlib
import sys

import pdoc

import bpjax

for name in bpjax.__all__:  # loaded at first use; pdoc looks at what is loaded
    getattr(bpjax, name)
pdoc.render.configure(docformat="google")
pdoc.pdoc("bpjax", "!bpjax.models.bert.torch_code", output_directory=pathlib.Path(sys.argv[1]))
