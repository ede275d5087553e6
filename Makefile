# Everything that is done to this project goes through here. Needs python3 (3.11 or newer), pip and make; what else is
# needed is installed from requirements-dev.lock into .venv, by the first target that needs it.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
TORTURE ?= tests
TORTURE_SEED ?= $(shell date +%s)
AS ?=
SURFACE ?=
SERVICE ?=
PROJECTION ?=
DOMAIN ?=
EMAIL ?=
TO ?=
FROM ?=
KEYS ?=

export DEZKY_HOME
export DEZKY_PORT_BASE
# Tests start hundreds of processes, and each would compile the whole project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run up down status demo token logs rebuild compare backup restore erasures test test-unit check fix bench torture lock sbom deployment-env clean venv

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: venv ## Start the fleet, follow its logs, end it on Ctrl-C
	@$(RUN) -m infrastructure.local run

up: venv ## Start the fleet; returns when it is ready, and prints URLs and demo people
	@$(RUN) -m infrastructure.local up

down: venv ## End the fleet
	@$(RUN) -m infrastructure.local down

status: venv ## Show every process; fails unless all required ones are ready
	@$(RUN) -m infrastructure.local status

demo: venv ## Walk through the main job as a client of the gateway, checking each step
	@$(RUN) -m infrastructure.local.demo

token: venv ## Print an access token: make -s token AS=operator@dezky.local SURFACE=operator
	@$(RUN) -m infrastructure.local token "$(AS)" "$(SURFACE)"

logs: venv ## Show the last lines of every log and follow them
	@$(RUN) -m infrastructure.local logs --follow

rebuild: venv ## Build projections anew, live: make rebuild SERVICE=partner [PROJECTION=customers]
	@$(RUN) -m infrastructure.local rebuild "$(SERVICE)" $(PROJECTION)

compare: venv ## Compare projections with their owners: make compare SERVICE=partner [PROJECTION=customers]
	@$(RUN) -m infrastructure.local compare "$(SERVICE)" $(PROJECTION)

backup: venv ## Back up the running fleet: make backup [TO=folder] [KEYS=file]; see docs/backup.md
	@$(RUN) -m infrastructure.local backup $(if $(TO),--to "$(TO)") $(if $(KEYS),--keys "$(KEYS)")

restore: venv ## Restore into a fleet without databases: make restore FROM=folder [KEYS=file]
	@$(RUN) -m infrastructure.local restore "$(FROM)" $(if $(KEYS),--keys "$(KEYS)")

erasures: venv ## Bring the list of the erased, kept outside of backups, up to date
	@$(RUN) -m infrastructure.local erasures

test: venv ## Run all tests
	@$(VENV)/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-unit: venv ## Run the tests that need neither network nor database
	@$(VENV)/bin/pytest -m unit

check: venv ## Check format, lint, types and import contracts
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

fix: venv ## Format, and fix what the linter can
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

bench: venv ## Measure every performance claim against its peers
	@$(RUN) -m benchmarks

torture: venv ## Kill processes for a long time under load and look for what was lost
	@TORTURE_SEED=$(TORTURE_SEED) $(VENV)/bin/pytest -m torture --timeout 3600 $(TORTURE)

UV := $(VENV)/lock/bin/uv
COMPILE := $(UV) pip compile pyproject.toml --quiet --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: venv ## Lock the requirements of pyproject.toml again, with hashes and without addresses
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv; }
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --extra dev --output-file requirements-dev.lock

sbom: venv ## Make the bill of materials and the list of licences anew from the lock
	@$(RUN) -m infrastructure.docs supply

deployment-env: venv ## Make the secrets of a deployment, .env: make deployment-env DOMAIN=example.com EMAIL=you@example.com
	@$(RUN) -m infrastructure.compose "$(DOMAIN)" "$(EMAIL)"

clean: ## End the fleet; delete its state, .venv and every cache
	@if [ -x $(RUN) ]; then $(RUN) -m infrastructure.local clean; fi
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './node_modules/*' -prune -exec rm -rf {} +

venv:
	@$(PYTHON) infrastructure/local/install.py
