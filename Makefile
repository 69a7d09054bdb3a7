# `make demo` and `make test` need Python 3.11 or newer and make, nothing else of ours.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Each recipe orders its steps itself; they share .venv, so `make -j` must not mix them.
.NOTPARALLEL:

PYTHON ?= python3
# Processes of a test run, and options for one: make test PYTEST_OPTIONS="-p no:randomly".
WORKERS ?= 2
PYTEST_OPTIONS ?=
# Options for the soak: make soak SOAK="--seconds 60 --sessions 200".
SOAK ?=
# Options for the benchmark: make bench-quick BENCH="--only W2 --peers by_hand,ws_isolation".
BENCH ?=

BIN := .venv/bin
WORK := .work
# Only for the wheel's and the other jobs' own environments.
INTERPRETERS = $$($(BIN)/python tools/interpreters.py)
UNPACKED = $(WORK)/unpacked
RUN = -n $(WORKERS) -m "not browser and not downstream" $(PYTEST_OPTIONS)
# The load tests say nothing new on another Python: `make test` has run them once.
LIGHT = -n $(WORKERS) -m "not browser and not downstream and not load" $(PYTEST_OPTIONS)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore
# Plain pip 23, which Python 3.11 brings, knows no dependency groups: --group came with 25.1.
UPGRADE_PIP = -m pip install --quiet --upgrade "pip>=25.1"

.PHONY: help demo test test-all lint typing docs scenarios bench bench-quick bench-record bench-import bench-stalled \
	soak matrix build clean test-browser test-downstream test-wheel test-wheel-one test-lowest test-no-extras test-extras test-cuts chromium

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '%-22s %s\n' "$$name" "$$text"; done

# --- environments: a stamp file each, so that a second run installs nothing -------------------

.venv/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ws_isolation needs Python 3.11 or newer, and $(PYTHON) is none."; \
		echo "Install one and name it:  make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; \
		exit 1; }
	@$(PYTHON) -m venv .venv || { \
		echo "$(PYTHON) cannot make virtual environments."; \
		echo "On Debian and Ubuntu: apt-get install python3-venv, then the same command again."; \
		exit 1; }
	$(BIN)/python $(UPGRADE_PIP)
	@touch $@

.venv/.demo: .venv/.pip pyproject.toml src/ws_isolation/_version.py
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

.venv/.dev: .venv/.pip pyproject.toml src/ws_isolation/_version.py
	$(BIN)/python -m pip install --quiet --editable '.[demo]' --group dev
	@touch $@ .venv/.demo

# --- the commands -----------------------------------------------------------------------------

demo: .venv/.demo  ## two users side by side in the browser; --check without one: DEMO=--check
	$(BIN)/ws-isolation demo $(DEMO)

test: .venv/.dev  ## all that pip alone can bring: tests, coverage, types, lint, docs
	$(BIN)/python -m pytest $(RUN) --cov --cov-report=term
	$(MAKE) typing
	$(MAKE) lint
	$(MAKE) docs

test-all:  ## test, then Chromium, a downstream service, each Python with the wheel, lowest bounds, no extras, each extra alone
	$(MAKE) test
	$(MAKE) test-browser
	$(MAKE) test-downstream
	$(MAKE) test-wheel
	$(MAKE) test-lowest
	$(MAKE) test-no-extras
	$(MAKE) test-extras

# --verifytypes looks for the package where the first python of the PATH would.
typing: .venv/.dev  ## mypy and pyright, both strict; every public name typed
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes ws_isolation

lint: .venv/.dev  ## ruff, format, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

docs: .venv/.dev  ## the documentation, warnings are errors: docs/_build/html/index.html
	$(BIN)/python -m sphinx -q -n -W --keep-going docs docs/_build/html

scenarios:  ## which of S01 to S65, P1 to P6 and WS-01 to WS-35 have no test; fails if one that is due has none
	$(PYTHON) -m tests.scenarios

test-cuts: .venv/.dev  ## 10,000 random cuts of real connections: nothing may be lost or repeated (3 minutes)
	$(BIN)/python -m tests.chaos.soak --cuts 10000

# The peers live in an environment of their own: no other target needs them.
$(WORK)/bench-env/.done: .venv/.pip pyproject.toml
	$(BIN)/python -m venv --clear $(WORK)/bench-env
	$(WORK)/bench-env/bin/python $(UPGRADE_PIP)
	$(WORK)/bench-env/bin/python -m pip install --quiet --editable '.[demo]' --group bench
	@touch $@

bench: $(WORK)/bench-env/.done  ## what delivery costs beside the others, all of it (40 minutes): BENCH="--only W2"
	$(WORK)/bench-env/bin/python -m bench --out $(WORK)/bench $(BENCH)

bench-quick: $(WORK)/bench-env/.done  ## those that the goals are about, in about three minutes
	$(WORK)/bench-env/bin/python -m bench --quick --out $(WORK)/bench-quick $(BENCH)

bench-record: $(WORK)/bench-env/.done  ## put the last result of `make bench` into the docs: RESULT=.work/bench-quick
	$(WORK)/bench-env/bin/python -m bench.record $(or $(RESULT),$(WORK)/bench)

bench-import: .venv/.dev  ## what `import ws_isolation` costs beyond msgspec and attrs
	$(BIN)/python bench/import_time.py

bench-stalled: .venv/.dev  ## what one stalled reader costs everybody else: p99 with it beside p99 without
	$(BIN)/python bench/stalled_reader.py

soak: .venv/.dev  ## ten minutes of four workers, 2,000 sessions, and kills of workers and engine
	$(BIN)/python -m tests.soak $(SOAK)

matrix: .venv/.dev  ## every adapter on every server: writes docs/reference/adapters.md (six minutes)
	$(BIN)/python -m tests.adapters.matrix

# --- what pip cannot bring --------------------------------------------------------------------

chromium:
	@sh tools/chromium.sh

test-browser: .venv/.dev chromium  ## the page, in real Chromium
	$(BIN)/python -m pytest -m browser $(PYTEST_OPTIONS)

test-downstream: .venv/.dev  ## a service, installed with the built wheel, under mypy and pyright strict
	$(BIN)/python -m pytest -m downstream $(PYTEST_OPTIONS)

build: .venv/.dev  ## sdist and wheel, and the sdist unpacked without src
	rm -rf $(WORK)/dist $(UNPACKED)
	$(BIN)/python -m build --quiet --outdir $(WORK)/dist
	mkdir -p $(UNPACKED)
	tar -xzf $(WORK)/dist/*.tar.gz -C $(UNPACKED) --strip-components=1
	rm -r $(UNPACKED)/src

# The tests of the sdist against the installed wheel: src is gone, so nothing can come from it.
test-wheel: build  ## the built wheel on each installed Python from 3.11 on
	@set -e; for python in $(INTERPRETERS); do \
		$(MAKE) test-wheel-one INTERPRETER="$$python"; done

test-wheel-one: ENV = $(WORK)/wheel-$(subst /,_,$(INTERPRETER))
test-wheel-one:
	$(INTERPRETER) --version
	$(INTERPRETER) -m venv --clear $(ENV)
	$(ENV)/bin/python $(UPGRADE_PIP)
	$(ENV)/bin/python -m pip install --quiet "$$(echo $(WORK)/dist/*.whl)[demo]" --group tests
	cd $(UNPACKED) && $(CURDIR)/$(ENV)/bin/python -m pytest $(LIGHT)

test-lowest: ENV = $(WORK)/lowest
test-lowest: .venv/.dev  ## each run-time dependency and extra at its lower bound
	$(BIN)/python -m venv --clear $(ENV)
	$(ENV)/bin/python $(UPGRADE_PIP)
	$(BIN)/python tools/lowest_bounds.py > $(ENV)/lowest.txt
	$(ENV)/bin/python -m pip install --quiet --editable '.[demo]' --group tests \
		--constraint $(ENV)/lowest.txt --only-binary msgspec
	$(ENV)/bin/python -m pytest $(LIGHT)

test-no-extras: ENV = $(WORK)/no-extras
test-no-extras: .venv/.dev  ## the core with its three dependencies and no framework
	$(BIN)/python -m venv --clear $(ENV)
	$(ENV)/bin/python $(UPGRADE_PIP)
	$(ENV)/bin/python -m pip install --quiet --editable . --group unit
	$(ENV)/bin/python -W error -c 'import ws_isolation'
	$(ENV)/bin/python -m pytest $(LIGHT) $$($(BIN)/python -m tests.selection)

# Each in an environment of its own: what one brings must not hide what another lacks.
test-extras: ENV = $(WORK)/extra
test-extras: build  ## the built wheel with each extra alone
	@set -e; for extra in $$($(BIN)/python -c 'from tests.extras import PROMISED; print(*PROMISED)'); do \
		$(BIN)/python -m venv --clear $(ENV); \
		$(ENV)/bin/python -m pip install --quiet "$$(echo $(WORK)/dist/*.whl)[$$extra]"; \
		$(ENV)/bin/python -m tests.extras $$extra; \
	done

clean:  ## remove what these commands made
	rm -rf .venv $(WORK) dist docs/_build .coverage .coverage.* htmlcov \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
