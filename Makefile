# Everything runs in .venv, built from pyproject.toml and constraints.txt with plain pip. `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Two levels of -q leave errors only. Byte code is written on first import: the set-up does not wait for it.
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
INSTALL := $(PIP) install --no-compile -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test check lint types floors bench prove api docs pins clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.dev servers  ## build .venv with everything a developer needs

servers:  ## install the servers some tests talk to, with apt, as root or by sudo; what cannot be had is skipped
	@sh tests/servers.sh

demo: $(VENV)/.demo  ## install FlowStone with its demo and review a Python environment in ./flowstone-demo
	@$(BIN)/flowstone demo

test: $(VENV)/.dev servers  ## run the tests (not the long matrices) on every core
	@$(PYTEST) -n auto --dist worksteal tests

check: lint types floors test  ## what CI runs: lint, types, floors, tests

lint: $(VENV)/.dev  ## ruff: style and the faults it can see
	@$(BIN)/ruff check --quiet .

types: $(VENV)/.dev  ## mypy --strict over src
	@$(BIN)/mypy --no-error-summary

floors: $(VENV)/.dev  ## import-linter: who may import whom; deptry: declared and used dependencies agree
	@$(BIN)/lint-imports --no-logo >$(VENV)/floors.log || { cat $(VENV)/floors.log; exit 1; }
	@$(BIN)/deptry src 2>$(VENV)/deptry.log || { cat $(VENV)/deptry.log; exit 1; }

bench: $(VENV)/.dev  ## measure the budgets on this machine and print them
	@$(BIN)/python -m benchmarks

prove: $(VENV)/.dev servers  ## everything, with the long matrices: kills, races, attacks, 2,000 examples a property (about two hours)
	@HYPOTHESIS_PROFILE=prove $(PYTEST) -n auto --dist worksteal -m "prove or not prove" tests

api: $(VENV)/.dev  ## write tests/architecture/public_api.txt again, after a wanted change of the public names
	@FLOWSTONE_WRITE_API=1 $(PYTEST) -q tests/architecture/test_public_api.py

docs: $(VENV)/.dev  ## write the reference pages of docs/ again, after a change of events, settings or verbs
	@$(BIN)/python docs/generate.py

pins: $(VENV)/.dev  ## resolve every dependency anew for Python 3.11 to 3.13 and write constraints.txt
	@$(PIP) install uv
	@{ sed '/^[^#]/,$$d' constraints.txt; $(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --all-extras \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-package flowstone pyproject.toml; } \
		>$(VENV)/constraints.txt && mv $(VENV)/constraints.txt constraints.txt

clean:  ## remove .venv, caches and the demo project
	@rm -rf $(VENV) flowstone-demo flowstone-kill flowstone-tamper dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo '$(PYTHON) is missing or older than 3.11: make PYTHON=/path/to/python3.11 …' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make a virtual environment: apt install python3-venv' >&2; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml constraints.txt
	@echo 'Installing FlowStone and its demo into $(VENV) …'
	@$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt
	@echo 'Installing FlowStone and its development tools into $(VENV) …'
	@$(INSTALL) -e '.[dev]'
	@touch $@
