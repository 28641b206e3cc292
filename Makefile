# Shinchoku asks for two things: make, and Python 3.11 or newer.
# `make run PORT=9000` takes another port, `make test PYTEST_ARGS='-k feed'` other tests, PYTHON=… another Python.

PYTHON      ?= python3
PORT        ?= 8000
PYTEST_ARGS ?= -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --dist worksteal
LOCK_ARGS   ?=
BENCH_ARGS  ?= --write

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet

# An environment is good for one set of locks in one place, so its stamp is named after both:
# a changed lock, a moved folder or a copied one installs anew, and anything else does not.
stamp := .venv/ready-$(shell { pwd; cat pyproject.toml requirements.lock requirements-dev.lock; } | cksum | tr ' ' '-')

# Whatever the service is measured beside has an environment of its own.
peers := .venv-bench/ready-$(shell { pwd; cat bench/requirements.lock; } | cksum | tr ' ' '-')

.PHONY: help run test prove bench check format lock generate screenshots clean
.DEFAULT_GOAL := help

help:  ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1:\2/p' Makefile | awk -F: '{ printf "%-12s %s\n", $$1, $$2 }'

run: $(stamp)  ## install what the service needs, bring the database up to date and serve on PORT (8000)
	@$(bin)/shinchoku migrate
	@exec $(bin)/shinchoku serve --host 127.0.0.1 --port $(PORT)

test: $(stamp)-dev  ## run the whole test suite (PYTEST_ARGS, by default in one process more than there are cores: tests wait, too)
	@$(bin)/python -m pytest $(PYTEST_ARGS)

bench: $(stamp)-dev $(peers)  ## measure speed beside others, into docs/benchmarks.md (one to two hours; BENCH_ARGS=--help)
	@$(bin)/python -m bench $(BENCH_ARGS)

prove: $(stamp)-dev  ## prove the promises at their full figures and write docs/promises.md (about an hour)
	@SHINCHOKU_PROVE=1 $(bin)/python -m pytest -n0 tests/promises

check: $(stamp)-dev  ## lint, formatting and types
	@$(bin)/python -m ruff check
	@$(bin)/python -m ruff format --check
	@$(bin)/python -m mypy

format: $(stamp)-dev  ## put code and imports into the one form that `make check` expects
	@$(bin)/python -m ruff check --fix
	@$(bin)/python -m ruff format

lock: $(bin)/pip  ## write the lock files anew from pyproject.toml (LOCK_ARGS=--upgrade takes newer versions)
	@$(bin)/python -c 'import uv' 2>/dev/null || $(pip) install uv
	@$(bin)/python -m uv pip compile --quiet pyproject.toml --group build -o requirements.lock $(lock)
	@$(bin)/python -m uv pip compile --quiet pyproject.toml --group build --group dev -c requirements.lock \
	    -o requirements-dev.lock $(lock)
	@$(bin)/python -m uv pip compile --quiet bench/requirements.in -o bench/requirements.lock $(lock)

# One lock for every platform and Python that may run this: versions and hashes, and no address to fetch them from.
lock := --universal --python-version 3.11 --only-binary :all: --generate-hashes --no-annotate \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_ARGS)

generate: $(stamp)-dev  ## write docs/openapi.json and the answers that it shows anew, as the service gives them now
	@SHINCHOKU_WRITE_EXAMPLES=1 $(bin)/python -m pytest -q -n0 tests/test_examples.py -k "real_one and sqlite"
	@SHINCHOKU_WRITE_OPENAPI=1 $(bin)/python -m pytest -q -n0 tests/test_contract.py -k "committed and sqlite"

screenshots: $(stamp)-dev  ## make the pictures in docs/screenshots anew, with the machine's Chromium
	@$(bin)/python -m tests.screenshots

clean:  ## remove the environment and every cache, but no data
	rm -rf .venv .venv-bench .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(bin)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Shinchoku needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	    echo "If another is installed, name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; \
	    exit 1; } >&2
	@$(PYTHON) -m venv .venv

# The locks carry the hash of every file and nothing is built, so that what runs is what was tested.
$(stamp): | $(bin)/pip
	@echo 'Installing what the service needs (once) …'
	@$(pip) install --require-hashes --only-binary :all: -r requirements.lock
	@$(pip) install --no-index --no-build-isolation --no-deps --editable .
	@rm -f .venv/ready-* && touch $@

$(peers): | $(bin)/pip
	@echo 'Installing what the service is measured beside (once) …'
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install \
	    --require-hashes --only-binary :all: -r bench/requirements.lock
	@rm -f .venv-bench/ready-* && touch $@

$(stamp)-dev: | $(stamp)
	@echo 'Installing what the tests need (once) …'
	@$(pip) install --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@
