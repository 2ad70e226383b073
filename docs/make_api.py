"""Builds the pages of all modules from their docstrings: python docs/make_api.py FOLDER."""

import importlib
import pathlib
import pkgutil
import sys
import types

import pdoc

import bpjax

for name in bpjax.__all__:  # loaded at first use; pdoc looks at what is loaded
    getattr(bpjax, name)
packages = [each.name for each in pkgutil.walk_packages(bpjax.__path__, "bpjax.") if each.ispkg]
for package in map(importlib.import_module, ["bpjax", *packages]):
    if hasattr(package, "__all__"):  # else pdoc leaves out the modules that it does not name
        inside = (module.name for module in pkgutil.iter_modules(package.__path__))
        package.__all__ += sorted({*inside} - {*package.__all__, "__main__"})
# Left out, for it imports torch, which is not installed here; pdoc looks at it all the same.
TORCH_CODE = "bpjax.models.bert.torch_code"
sys.modules[TORCH_CODE] = types.ModuleType(TORCH_CODE)
pdoc.render.configure(docformat="google")
pdoc.pdoc("bpjax", f"!{TORCH_CODE}", output_directory=pathlib.Path(sys.argv[1]))
