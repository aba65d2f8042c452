# Everything a user types. Needs git, make and Python 3.11 to 3.13; the rest goes into .venv.
#   make demo          set up, then show the whole loop (Ctrl-C stops it; ONCE=1 exits by itself)
#   make test          set up, then pass every test

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that is there and new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PYTEST_ARGS ?=
LOAD ?=
ONCE ?=
PARTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo dev load test coverage bench bench-serving faults fuzz lint lock clean distclean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found (python3 is $$(python3 -V 2>&1)). Install one, or name it: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); this project needs Python 3.11, 3.12 or 3.13."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv is quick and checks the same hashes; where it cannot reach an index that pip is set up for, pip
# does it. --no-deps: a lock file is complete, and leaves out the GPU library that xgboost asks for.
define install
	@echo "Installing $(1) into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --compile-bytecode -r $(1) \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q mlops_assets serving
	@$(BIN)/mlops prepare
	@touch $@
endef

$(VENV)/.runtime: requirements/runtime.txt requirements/uv.txt pyproject.toml | $(BIN)/python
	$(call install,requirements/runtime.txt)

$(VENV)/.dev: requirements/dev.txt requirements/uv.txt pyproject.toml | $(BIN)/python
	$(call install,requirements/dev.txt)
	@touch $(VENV)/.runtime

setup: $(VENV)/.runtime  ## Make the environment

setup-dev: $(VENV)/.dev  ## Make the environment with the tools of development

demo: setup  ## Land real data and watch it become a model that answers
	@exec $(BIN)/mlops demo $(if $(filter-out 0 no false,$(ONCE)),--once)

dev: setup  ## Dagster alone, on the same instance (the same as `dagster dev`)
	@exec $(BIN)/mlops dev

load: setup  ## Test the running serving app under load (LOAD="URL --rate 200 --p99 50ms"; mlops load --help)
	@exec $(BIN)/mlops load $(LOAD)

test: setup-dev lint  ## Pass every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: setup-dev  ## Pass every test, and say which lines none has run (takes twice as long)
	$(BIN)/python -m pytest --cov=mlops_assets --cov=serving --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

bench: setup-dev  ## Measure what docs/figures.md shows
	@for name in loading cleveland churn new_use_case; do $(BIN)/python -m tests.benchmarks.$$name 2>/dev/null || exit 1; done

bench-serving: setup-dev  ## Measure serving beside a constant and beside other servers (PARTS="constant open")
	@$(BIN)/python -m tests.benchmarks.serving $(PARTS) 2>/dev/null

faults: setup-dev  ## Kill everything at named points and at random times (about 40 minutes)
	$(BIN)/python -m tests.recovery

fuzz: setup-dev  ## Send the serving app 2,000 requests made up from its OpenAPI schema
	$(BIN)/python -m tests.serving.fuzz

lint: setup-dev  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: setup-dev  ## Resolve the dependencies anew
	$(BIN)/python requirements/lock.py

clean:  ## Remove what `make demo` made (MLOPS_HOME, .mlops by default)
	@if [ -x $(BIN)/mlops ]; then $(BIN)/mlops clean; else rm -rf .mlops; fi

distclean: clean  ## Remove the environment and every cache, too
	rm -rf $(VENV) dbt_features/target dbt_features/generated dbt_features/logs build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
