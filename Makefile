# Every target does its own set-up. `make` alone says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.PHONY: help setup demo test campaign simulate mutation-gate explore model properties fuzz lint bench lock clean distclean

export PYTHON
# Debian keeps the broker where only root's PATH looks.
export PATH := $(PATH):/usr/sbin

ARGS ?=
ONLY ?=
SEEDS ?= 100
FIRST ?= 0
PROFILE ?=
MINUTES ?=
CUTS ?= 2
# Processes for tests that need no process but their own.
JOBS ?= $(shell nproc)
SAMPLES ?= 100
CODE := $(wildcard wire rules kit agent master client firmware_sim tests benchmarks)

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	    while IFS='|' read -r target text; do printf '  make %-13s %s\n' "$$target" "$$text"; done

setup: ## environments, locked packages and the broker, as all other targets do it when needed
	@scripts/setup.sh broker interop iec61850

demo: ## the main job, end to end, on this machine; ARGS=--once: once, without a terminal, checked
	@scripts/setup.sh broker
	@.venv/bin/gridwitness demo $(ARGS)

test: ## lint and all tests; nothing is skipped because something is not installed
	@scripts/setup.sh broker interop iec61850
	@scripts/test.sh $(JOBS)

simulate: ## whole clusters under faults, one run per seed; SEEDS=n FIRST=s PROFILE=word
	@scripts/setup.sh
	@.venv/bin/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) $(if $(PROFILE),--profile $(PROFILE))

mutation-gate: ## plant known bugs in copies of the source; the simulator must find each within 40 seeds; ONLY=word
	@scripts/setup.sh
	@.venv/bin/python -m tests.simulation.gate --only "$(ONLY)"

explore: ## every schedule of one height within bounds, on the real core; CUTS=n rounds with a split network
	@scripts/setup.sh
	@.venv/bin/python -m tests.simulation.explorer --cuts $(CUTS)

fuzz: ## hostile bytes for every decoder, lying devices for drivers; MINUTES=n ONLY=word
	@scripts/setup.sh
	@.venv/bin/python -m tests.fuzz --minutes $(or $(MINUTES),10) --only "$(ONLY)"

properties: ## generated tests with examples that no run had before, round after round; MINUTES=n FIRST=s
	@scripts/setup.sh iec61850
	@scripts/properties.sh $(or $(MINUTES),10) $(FIRST) $(JOBS)

model: ## a model of agreement, epoch change and quarantine, run at random by Quint; SAMPLES=n
	@scripts/model.sh $(SAMPLES)

campaign: ## every fault of the simulator at random on 100 devices: no false and no missed alarm; MINUTES=n
	@scripts/setup.sh
	@.venv/bin/python -m tests.campaign --minutes $(or $(MINUTES),30)

lint: ## style, format, types, import arrows
	@scripts/setup.sh
	@status=0; \
	.venv/bin/ruff check --quiet --output-format=concise . || status=1; \
	.venv/bin/ruff format --check . || status=1; \
	.venv/bin/mypy $(CODE) || status=1; \
	.venv/bin/lint-imports --no-logo > build/imports.txt || { cat build/imports.txt; status=1; }; \
	if [ $$status -eq 0 ]; then echo 'lint: fine'; else echo 'lint: see above'; fi; \
	exit $$status

bench: ## measure, print a table, write build/bench/GROUP.json; ONLY=GROUP for one group, MINUTES=n for soak, SHORTER=N for loads of an Nth
	@scripts/setup.sh broker interop iec61850
	@GRIDWITNESS_BENCH_SHORTER=$(SHORTER) .venv/bin/python -m benchmarks $(ONLY) $(if $(MINUTES),--minutes $(MINUTES))

lock: ## choose versions anew within setup.cfg and write requirements/*.txt
	@scripts/setup.sh
	@scripts/lock.sh

clean: ## remove what was built, keep the environments
	@rm -rf build dist .coverage .ruff_cache .pytest_cache .mypy_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the environments, too
	@rm -rf .venv .venv-interop
