# Everything a person needs: each target sets up what it uses.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-fast lint format bench lock audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## virtual environment with locked dependencies

$(INSTALLED): pyproject.toml requirements.lock requirements-torch.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nsmt needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet -r requirements-torch.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

quickstart: $(INSTALLED) ## the main job on real text, in minutes: train, specialise, compare, report
	$(BIN)/python train.py experiment=quickstart

test: $(INSTALLED) ## the whole test suite
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

test-fast: $(INSTALLED) ## without the tests that take more than a few seconds
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile -m "not slow"

lint: $(INSTALLED) ## ruff, mypy and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile

format: $(INSTALLED) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## a smoke test of the benchmarks; benchmarks/README.md has those that count
	$(BIN)/nsmt bench

lock: $(INSTALLED) ## resolve the versions anew, with hashes (needs uv)
	uv pip compile pyproject.toml --extra dev --upgrade --generate-hashes --python-version 3.11 --torch-backend cpu \
	    --no-emit-package torch --no-emit-index-url --no-annotate --no-header -o $(VENV)/lock
	{ grep '^#' requirements.lock; cat $(VENV)/lock; } > $(VENV)/locked && mv $(VENV)/locked requirements.lock

audit: $(INSTALLED) ## known vulnerabilities of the locked versions (asks the network)
	$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --require-hashes --disable-pip -r requirements.lock
	$(VENV)/audit/bin/pip-audit --no-deps --disable-pip -r requirements-torch.txt

clean: ## remove the environment and caches, keep corpora and runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
