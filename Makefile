# Everything runs in .venv, which `make` builds from pyproject.toml and constraints.txt when either has changed.
PYTHON ?= python3
WORKERS ?= 2
METHODS ?=
BIN := .venv/bin
STAMP := .venv/.installed

# One thread per test worker: two workers with as many threads as cores each only get in each other's way.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all fuzz faults ui lint format typecheck docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1	\2/' | expand -t 16

install: $(STAMP) ## create or update .venv

$(STAMP): pyproject.toml constraints.txt
	@# An older one would be told of conflicting dependencies, and leave an environment that a newer one cannot use.
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
		{ echo "$(PYTHON) is not Python 3.11.4 or newer: name one, as in make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP) ## distil a small dataset from start to leaderboard; METHODS=all for every method, METHODS=variants for ablations too
	$(BIN)/dd-assets demo $(if $(METHODS),--methods $(METHODS))

test: $(STAMP) ## the quick tests
	$(PYTEST) -n $(WORKERS) -m "not slow and not service"

test-slow: $(STAMP) ## only the tests that take minutes or start servers
	$(PYTEST) -m "slow or service"

fuzz: $(STAMP) ## over 100,000 spoiled inputs to everything that reads
	DD_FUZZ=1 $(PYTEST) -s tests/fuzz

faults: $(STAMP) ## 300 faults in running commands, some half an hour; needs root for the full disk
	$(TEST_ENV) $(BIN)/python -m tests.faults.campaign --trials 300 --out faults.json

test-all: test test-slow ## every test

ui: $(STAMP) ## Dagster's web interface on 127.0.0.1
	$(BIN)/dd-assets ui

lint: $(STAMP) ## style of the code and the Dockerfile, and units whose code changed without a version
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m dd_assets.planning.fingerprints --check

format: $(STAMP) ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP) ## mypy over both packages
	$(BIN)/mypy

docs: $(STAMP) ## the documentation as a site in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict --quiet

clean: ## remove caches and built files; .venv and results stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
