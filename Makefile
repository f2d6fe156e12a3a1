# Everything a newcomer or a CI machine needs. Python 3.11 or newer is the only requirement; the rest goes to .venv.
#   make demo PYTHON=/path/to/python3.12    names the interpreter
#   make test WORKERS=8 ARGS="-k interval"  more processes, fewer tests

PYTHON  ?= python3
WORKERS ?= 2
ARGS    ?=

VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
SOURCES := medagent fhir tools workflows tests
INPUTS  := $(shell find $(SOURCES) -type f -not -name '*.pyc' -not -path '*/.*')
PYTEST  := $(BIN)/pytest -n $(WORKERS) -ra $(ARGS)
MARKED  := services or vllm or browser or chaos or slow
COVERED := $(VENV)/.coverage

# Not `.coverage`: a hand-made `pytest --cov` of one file must not pass for a measurement of all.
export COVERAGE_FILE := $(CURDIR)/$(COVERED)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check static lint types contracts licences coverage test-all test-rest bench soak services counterparts postgresql vllm clean

help:  ## Print this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: $(VENV)/.base  ## See what MedAgent says about the sample patients, and a forged record found out.
	@$(BIN)/medagent demo

test: $(VENV)/.dev  ## Run the tests: offline, minutes. Writes what `make coverage` judges.
	$(PYTEST) --dist worksteal -m "not ($(MARKED) or bench)" --cov --cov-report= --cov-fail-under=0

check: static coverage  ## Lint, format, types, import contracts, licences, branch coverage. Changes nothing.

static: lint types contracts licences

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

licences: $(VENV)/.dev  ## Refuse a run-time dependency that is neither permissive nor weak copyleft.
	@$(BIN)/pip-licenses --summary --packages $$($(BIN)/python tests/house/runtime_closure.py)

coverage: $(COVERED)  ## Judge the branch coverage of the last `make test`; runs it first where code changed since.
	$(BIN)/coverage report

$(COVERED): $(VENV)/.dev $(INPUTS)
	@$(MAKE) --no-print-directory test

test-all: test test-rest  ## The tests, then the slow ones and those that need a service, a model or a browser.

test-rest: $(VENV)/.dev
	@$(BIN)/pytest --collect-only -qq -m "$(MARKED)" >/dev/null; status=$$?; \
	if [ $$status -eq 5 ]; then echo "No test is marked: $(MARKED)."; \
	else set -x; $(PYTEST) --dist loadgroup -m "$(MARKED)"; fi

bench: $(VENV)/.dev  ## Measure speed and memory. Prints numbers, judges none.
	$(BIN)/pytest -s -m bench tests/bench/bench_*.py $(ARGS)

soak: $(VENV)/.dev  ## 100 killed runs on each database, 1,200 drafts of models that know nothing, then slow and killing tests ten times over.
	MEDAGENT_SOAK_KILLED_RUNS=100 $(BIN)/pytest -q -m chaos $(ARGS) tests/flow/test_killed_runs.py || test $$? -eq 5
	MEDAGENT_SOAK_DRAFTS=1000 MEDAGENT_SOAK_SMOLLM2_DRAFTS=200 $(BIN)/pytest -q -s $(ARGS) tests/vllm/test_soak.py
	@for round in 1 2 3 4 5 6 7 8 9 10; do echo "Round $$round of 10"; \
		$(BIN)/pytest -q -m "slow or chaos" $(ARGS) || { test $$? -eq 5 && echo "No test is marked: slow or chaos." && break; } || exit 1; \
	done

services:  ## Install the servers that tests talk to: PostgreSQL, Medplum's FHIR router, oidc-provider.
	@$(MAKE) --no-print-directory --keep-going counterparts postgresql

counterparts: $(BIN)/python
	@$(BIN)/python tests/counterparts/install.py

postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		echo "PostgreSQL is installed. Tests start a server of their own and end it."; exit; fi; \
	command -v apt-get >/dev/null || { echo "There is no apt-get here. Install PostgreSQL 14 or newer with initdb on the PATH; tests find it there." >&2; exit 1; }; \
	if [ "$$(id -u)" -eq 0 ]; then as_root=; \
	elif command -v sudo >/dev/null; then as_root=sudo; \
	else echo "Installing needs root, and there is no sudo here. As root: apt-get install postgresql" >&2; exit 1; fi; \
	set -x; $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql >/dev/null

vllm: $(BIN)/python  ## Install the model server that tests can talk to, and small models (3.3 GB, Linux on x86-64).
	@$(BIN)/python tests/vllm/install.py

clean:  ## Remove the environment, caches and build results.
	rm -rf $(VENV) .vllm .services build dist demo-output .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

# --- set-up, once; again when a requirement changes ---------------------------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on this machine. Name a Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "MedAgent needs Python 3.11 or newer, and $(PYTHON) is older. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python could not make .venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# Twice --quiet: errors only. The build backend comes first and pinned, so that the build downloads nothing of its own choosing.
$(VENV)/.backend: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) install --constraint constraints.txt hatchling
	@touch $@

$(VENV)/.base: $(VENV)/.backend
	@echo "Installing MedAgent into .venv (about half a minute, once)" >&2
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.backend
	@echo "Installing MedAgent with what tests, checks and benchmarks need into .venv (about a minute, once)" >&2
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev,bench]'
	@touch $(VENV)/.base $@
