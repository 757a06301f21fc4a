# Needs Python 3.11 or later and git. The environment goes to .venv, results to runs.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## train four recipes on digits over three seeds: a table, and runs/demo/report.html
	$(BIN)/latentloom compare baseline magnet center latent-boost --data digits --seeds 3 --workers 2 --folder runs/demo

test: $(READY)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

check: $(READY)  ## lint, formatting, types, known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tests/audit.py

bench: $(READY)  ## measure speed and memory against rivals and limits; tables go to runs/benchmarks/DATE
	$(BIN)/python benchmarks/bench.py

docs: $(READY)  ## build the site of the documents, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Made again when pyproject.toml changes; the stamp is set only if the installation succeeds.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("latentloom needs Python 3.11 or later, this is " + sys.version.split()[0] + "; name another with make PYTHON=...")'
ifeq ($(UV),uv)
	test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv
	uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
else
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
endif
	@touch $@
