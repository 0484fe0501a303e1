# Everything a person needs: each target sets up what it uses.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-fast lint format bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## virtual environment with locked dependencies

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nsmt needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	# torch by name and version, so that pip does not first fetch another build of it.
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)" -e ".[dev]" -c requirements.lock
	touch $@

quickstart: $(INSTALLED) ## the main job on real text, in minutes: train, specialise, compare, report
	$(BIN)/python train.py experiment=quickstart

test: $(INSTALLED) ## the whole test suite
	$(BIN)/python -m pytest

test-fast: $(INSTALLED) ## without the tests that take more than a few seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(INSTALLED) ## ruff, mypy and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile

format: $(INSTALLED) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## benchmarks, as ratios to a peer in one run
	$(BIN)/nsmt bench

clean: ## remove the environment and caches, keep corpora and runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
