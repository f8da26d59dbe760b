# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Compiled programs are kept between test runs (several times faster from the second run on).
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export MPLBACKEND ?= Agg

.PHONY: demo test test-all lint bench clean

demo: $(STAMP)  ## install, solve the Four Rooms incentive design problem, print a table, write figures
	$(BIN)/sobirl run four-rooms --force --out runs/demo

test: $(STAMP)  ## lint, import order and the test suite
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

test-all: $(STAMP)  ## everything, the slow tests too
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/lint-imports

bench: $(STAMP)  ## run every benchmark; results go to docs/benchmarks.md by hand
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sobirl needs Python 3.11 or newer; say which one: make PYTHON=python3.11 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .import_linter_cache build dist src/*.egg-info
