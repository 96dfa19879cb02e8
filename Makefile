# Everything happens in a virtual environment of exact versions: those with the newest JAX that runs on
# Python 3.11, or, with
#   make PYTHON=python3.12 VENV=.venv-py312 REQUIREMENTS=requirements-py312.txt test
# those with the newest JAX (Python 3.12 and newer), or, with
#   make VENV=.venv-tfc REQUIREMENTS=requirements.txt test
# those with TensorFlow Compression (Python 3.11 or 3.12). TESTS are arguments of pytest, and
#   make AND="and not once" test test-slow
# runs only tests with these marks as well.
PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS ?= requirements-newest.txt
TESTS ?= tests
AND ?=
# After a worker's crash, pytest-xdist would wait for ever for the tests that it had.
WORKERS = -n 2 --max-worker-restart 0
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-long lint man clean

demo: $(READY)
	$(VENV)/bin/python examples/demo.py

test: $(READY)
	$(VENV)/bin/python -m pytest $(WORKERS) -m "not slow and not long $(AND)" $(TESTS)

# The tests that `make test` leaves out: those that take more than three seconds each, or minutes.
test-slow: $(READY)
	$(VENV)/bin/python -m pytest $(WORKERS) -m "slow and not long $(AND)" $(TESTS)

test-long: $(READY)
	$(VENV)/bin/python -m pytest $(WORKERS) -m "long $(AND)" $(TESTS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/mypy

man: $(READY)
	$(VENV)/bin/python -m rdonet_jax man > docs/rdonet.1

$(READY): $(REQUIREMENTS) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $(REQUIREMENTS)
	$(VENV)/bin/pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) demo_output
