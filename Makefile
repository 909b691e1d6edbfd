# `make demo` and `make test` need only python3 (3.11+), make and a package index: they set up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPES := build/types/jensen
PACKAGES := models inference studies datasets
JOBS ?= auto
ARGS ?=

# One thread a process: tests run in parallel, and torch's own threads only get in each other's way on small problems.
test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types format clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## set up .venv with jensen in editable mode and the tools for its tests

demo: $(STAMP) ## fit three models to real data, compare the methods, write tables and pictures to runs/demo
	$(BIN)/jensen demo $(ARGS)

test: $(STAMP) ## run the tests (ARGS="-k vae", JOBS=0 for one process)
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

lint: $(STAMP) ## ruff: rules and formatting of imports
	$(BIN)/ruff check .

types: $(STAMP) $(TYPES) ## mypy on the packages under the names they are installed with
	$(BIN)/mypy

format: $(STAMP) ## let ruff repair what it can
	$(BIN)/ruff check --fix .

clean: ## remove caches and build outputs (runs/ and .venv stay)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	rm -rf $(VENV)

# The stamp is written last, so a set-up that was cut short is taken up again.
$(STAMP): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jensen needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "\`$(PYTHON) -m venv\` failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[test]'
	@touch $@

# mypy follows neither editable installs nor folders renamed by the build: give it the installed layout as links.
$(TYPES): Makefile
	@mkdir -p $@
	@for package in $(PACKAGES); do ln -sfn ../../../$$package $@/$$package; done
	@touch $@
