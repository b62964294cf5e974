# The tasks of a developer. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup system lint test demo faults package clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/pytest
# Debian packages that tests need; each brings a command of the same name.
SYSTEM_PACKAGES := faketime strace

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the project and its tools, unless it is up to date

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Holdfast needs Python 3.11 or newer. Name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot create virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

system: ## Install the Debian packages that tests need, unless they are there
	@missing=(); \
	for name in $(SYSTEM_PACKAGES); do command -v "$$name" >/dev/null || missing+=("$$name"); done; \
	[ "$${#missing[@]}" -gt 0 ] || exit 0; \
	as_root=(env DEBIAN_FRONTEND=noninteractive); \
	if [ "$$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then as_root=(sudo "$${as_root[@]}"); fi; \
	command -v apt-get >/dev/null || { echo "Please install: $${missing[*]}" >&2; exit 1; }; \
	echo "Installing $${missing[*]}"; \
	"$${as_root[@]}" apt-get update -qq; \
	"$${as_root[@]}" apt-get install -qq --yes --no-install-recommends "$${missing[@]}" >/dev/null

lint: setup ## Check style, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: setup system lint ## Check everything, then run every test but the torture
	$(PYTEST) --ignore=tests/torture

demo: setup ## See what Holdfast does when things die
	$(BIN)/python examples/demo/demo.py

faults: setup system ## Break real things and see that the promises hold
	$(PYTEST) tests/faults

package: setup ## Build the wheel and the source archive in dist/
	$(BIN)/python -m build --outdir dist

clean: ## Remove .venv, dist and caches
	rm -rf $(VENV) dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
