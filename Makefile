# Two commands do all the set-up: `make demo` and `make test`.
# The first Python that is new enough; choose another with make PYTHON=... demo
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Compiled programs are kept between test runs (several times faster from the second run on).
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export MPLBACKEND ?= Agg

.PHONY: demo test test-all browser test-versions lint bench docs clean

demo: $(STAMP)  ## install, solve the Four Rooms incentive design problem, print a table, write figures
	$(BIN)/sobirl run four-rooms --force --out runs/demo

test: $(STAMP)  ## lint, import order, types and the test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(STAMP)  ## everything, the slow tests too
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

browser: $(STAMP)  ## the labelling page in Chromium, which it installs where it can
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; } || \
	  echo "there is no Chromium, and it cannot be installed: the tests skip"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -n 0 -rs -m slow tests/apps/test_label_browser.py

test-versions: $(STAMP)  ## a quick part of the tests with the lowest and newest dependencies
	$(BIN)/python tests/versions.py $(JAX)

lint: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

bench: $(STAMP)  ## run every benchmark; results go to docs/benchmarks.md by hand
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(STAMP)  ## build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html; its search needs a server: $(BIN)/python -m http.server --directory site"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "sobirl needs Python 3.11 or newer: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) || { echo "python's venv module is incomplete (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .import_linter_cache build dist site src/*.egg-info
