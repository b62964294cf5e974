# The tasks of a developer. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup system lint test demo faults torture bench package clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-bench
PYTEST := $(BIN)/pytest --numprocesses auto
# Debian packages that tests need, each with a command that it brings.
SYSTEM_PACKAGES := faketime:faketime strace:strace postgresql:pg_ctlcluster \
	mariadb-server:mariadb-install-db pgbouncer:pgbouncer iproute2:ip
TORTURE := $(foreach name,SEED MINUTES WORKERS STORE,$(if $($(name)),--$(name) $($(name))))

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
	for pair in $(SYSTEM_PACKAGES); do \
		command -v "$${pair#*:}" >/dev/null || missing+=("$${pair%:*}"); \
	done; \
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

test: setup system lint ## Check everything, then run every test
	$(PYTEST)

demo: setup ## See what Holdfast does when things die
	$(BIN)/python examples/demo/demo.py

faults: setup system ## Break real things, longer and harder than `make test` does
	FAULTS=heavy $(PYTEST) tests/faults

torture: setup system ## Break workers for ten minutes, then check all that happened (SEED=, MINUTES=, WORKERS=, STORE=)
	PYTHONPATH=tests $(BIN)/python -m torture $(TORTURE)

bench: $(PEERS)/.installed ## Measure beside peers and the bare ceiling (STORE=postgresql; BENCH="--only drain --quick": a part)
	$(PEERS)/bin/python -m bench $(if $(STORE),--store $(STORE)) $(BENCH)

$(PEERS)/.installed: pyproject.toml bench/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[postgres]' --requirement bench/requirements.txt
	@touch $@

package: setup ## Build the wheel and the source archive in dist/
	$(BIN)/python -m build --outdir dist

clean: ## Remove virtual environments, dist and caches
	rm -rf $(VENV) $(PEERS) dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench -type d -name __pycache__ -prune -exec rm -rf {} +
