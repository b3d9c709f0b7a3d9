# `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a network package index.
PYTHON ?= python3
VENV := .venv
# Tests run in this many processes side by side, a file of tests in one of them: two more than most
# machines have cores here, as tests of processes wait for them. In the order
# of tests/support/order.py.
JOBS ?= 4
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo quick test nightly lint types setup clean

demo: setup          ## install if needed, then run the main job (2 to 5 minutes)
	$(BIN)/secure-fl run
	@echo 'to type secure-fl by itself: . $(VENV)/bin/activate'

quick: setup         ## the same job, smaller (about a minute)
	$(BIN)/secure-fl run --quick
	@echo 'to type secure-fl by itself: . $(VENV)/bin/activate'

test: setup lint types   ## install if needed, then lint, type check and run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

nightly: setup       ## the same tests on other random cases each time, and the long ones
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m '' --hypothesis-profile nightly

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

types: setup
	$(BIN)/mypy

setup: $(STAMP)

# CrypTen goes in without its stated dependencies: one of them no longer exists. What it really
# needs is in pyproject.toml. ByzFL, which tests compare rules with, goes in without the data sets and
# plots of its benchmark. The constraints pin the CPU build of torch and all else.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed (make PYTHON=python3.13): %s has no wheels of coincurve" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps crypten==0.4.1 byzfl==0.0.11
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
