# What a contributor runs. Needs Python 3.11+ with venv and pip, make and git; each target sets up the rest.
# Set-up talks on stderr, so that `make demo ARGS="--format json"` prints JSON alone on stdout.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ONLY ?=
ARGS ?=

VENV := .venv
LINT := .venvs/lint
DOCS := .venvs/docs
CONFORMANCE := .venvs/conformance
BENCH := .venvs/bench-$(notdir $(PYTHON))
READY := .ready-1
INPUTS := pyproject.toml noa_perf/__init__.py constraints/build.txt

# $(call environment,<directory>,<pip's arguments>,<constraints>): made, or mended after an interruption.
define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "noa_perf needs Python 3.11 or newer; set PYTHON=...")'
@echo "Setting up $(1), once: the environment ..." >&2
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1) >&2
@echo "Setting up $(1), once: pip ..." >&2
@$(1)/bin/python -m pip install -qq --disable-pip-version-check --upgrade -c constraints/build.txt pip >&2
@echo "Setting up $(1), once: packages (half a minute or so) ..." >&2
@$(1)/bin/python -m pip install -qq --disable-pip-version-check \
	--build-constraint constraints/build.txt -c $(3) $(2) >&2
@touch $(1)/$(READY)
@echo "$(1) is ready." >&2
endef

.PHONY: help demo test test-fast lint format bench conformance docs constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/$(READY) ## measure a slow shop, explain it, mend it, measure again; ARGS="--format json" or --serve
	@$(VENV)/bin/python -m testproject.demo $(ARGS)

test: $(VENV)/$(READY) ## the whole matrix: every interpreter found, servers (apt, as root), packaging, third-party sites
	@$(VENV)/bin/python -m tests.servers.install
	@$(VENV)/bin/python -m nox $(ARGS)

test-fast: $(VENV)/$(READY) ## what needs no server, one interpreter, about a minute
	@$(VENV)/bin/python -m pytest -q -m "not slow and not server" $(ARGS)

lint: $(LINT)/$(READY) ## ruff, mypy, import-linter, missing migrations
	@$(LINT)/bin/ruff check .
	@$(LINT)/bin/ruff format --check .
	@$(LINT)/bin/mypy
	@PATH="$(CURDIR)/$(LINT)/bin:$$PATH" $(LINT)/bin/lint-imports
	@$(LINT)/bin/python manage.py makemigrations --check --dry-run

format: $(LINT)/$(READY) ## let ruff mend what it can, and write the reference's tables anew
	@$(LINT)/bin/ruff check --fix .
	@$(LINT)/bin/ruff format .
	@$(LINT)/bin/python -m docs.tables

# Names of the programs below benchmarks/ and of the suites below tests/conformance/.
BENCHMARKS := $(sort $(notdir $(basename $(wildcard benchmarks/[a-z]*.py))))
SUITES := $(sort $(notdir $(basename $(wildcard tests/conformance/[a-z]*.py))))

bench: ## run one app's benchmark: ONLY=<app> ARGS="--rounds 2"
ifeq ($(filter $(ONLY),$(BENCHMARKS)),)
	@echo "Benchmarks here: $(or $(BENCHMARKS),none yet)." >&2
	@$(if $(ONLY),echo "There is none called $(ONLY)." >&2; exit 2,echo "Run one with make bench ONLY=<name>." >&2)
else
	@$(MAKE) $(BENCH)/$(READY)
	@$(BENCH)/bin/python -m benchmarks.$(ONLY) $(ARGS)
endif

conformance: ## run what others wrote (Django's own suites) against one app: ONLY=<app>
ifeq ($(filter $(ONLY),$(SUITES)),)
	@echo "Conformance suites here: $(or $(SUITES),none yet; each comes with its app)." >&2
	@$(if $(ONLY),echo "There is none called $(ONLY)." >&2; exit 2,echo "Run one with make conformance ONLY=<name>." >&2)
else
	@$(MAKE) $(VENV)/$(READY)
	@$(VENV)/bin/python -m tests.servers.install
	@$(MAKE) $(CONFORMANCE)/$(READY)
	@$(CONFORMANCE)/bin/python -m tests.conformance.$(ONLY) $(ARGS)
endif

docs: $(DOCS)/$(READY) ## build the documentation; a warning is an error
	@$(DOCS)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html" >&2

constraints: $(VENV)/$(READY) ## resolve the newest versions anew and write constraints/*.txt
	@$(VENV)/bin/python -m nox -s constraints

clean: ## remove environments and everything built
	@rm -rf .venv .venvs .nox .demo build dist docs/_build
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/$(READY): $(INPUTS) constraints/py311-django52.txt Makefile
	$(call environment,$(VENV),-e . --group dev,constraints/py311-django52.txt)

# MariaDB's driver is built from source: its compiler and headers come with the servers.
$(CONFORMANCE)/$(READY): $(INPUTS) constraints/py311-django52.txt Makefile
	$(call environment,$(CONFORMANCE),-e . --group dev --group mysql,constraints/py311-django52.txt)

$(LINT)/$(READY): $(INPUTS) constraints/lint.txt Makefile
	$(call environment,$(LINT),-e . --group lint,constraints/lint.txt)

$(BENCH)/$(READY): $(INPUTS) constraints/bench.txt Makefile
	$(call environment,$(BENCH),-e . --group bench,constraints/bench.txt)

$(DOCS)/$(READY): $(INPUTS) constraints/docs.txt Makefile
	$(call environment,$(DOCS),-e . --group docs,constraints/docs.txt)
