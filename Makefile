# Set-up, tests and checks. `make setup` uses the active virtual environment, else it makes .venv.

PYTHON ?= python3
ifdef VIRTUAL_ENV
BIN := $(VIRTUAL_ENV)/bin
else
BIN := $(CURDIR)/.venv/bin
endif
# Two processes on two cores: one thread each.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help setup run test test-fast coverage lint format docs wheel board-sim

help: ## Show what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | column -t -s '|'

setup: $(BIN)/python ## Install pyadmm with all that its tests use, at the tested versions
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@echo "Ready. Next: . $(BIN)/activate && pyadmm run --board pynq-z2"

$(BIN)/python:
	$(PYTHON) -m venv $(BIN:/bin=)

run: ## The main job: LeNet-5 on MNIST for pynq-z2
	$(BIN)/python -m pyadmm run --board pynq-z2

# coverage.py slows Python 3.11 down, so only the fast tests run under it.
test: lint docs coverage ## All checks and all tests, as CI runs them
	$(PYTEST) -m slow

test-fast: ## The tests that take less than some seconds each: about two minutes
	$(PYTEST) -m "not slow"

coverage: ## The fast tests with the share of lines that they run
	$(PYTEST) -m "not slow" --cov=pyadmm --cov-report=
	@echo "coverage of the fast tests: $$($(BIN)/python -m coverage report --format=total) %"

lint: ## ruff, mypy, the import contract
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: ## Mend what ruff can mend
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

docs: ## Build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# A second environment with the real pynq, which pins numpy < 2: for --simulate-board and its tests.
board-sim: ## Make the Python environment of the simulated board
	$(BIN)/python -m pyadmm.deploy.simulated_board.environment

wheel: ## Build the wheel
	$(BIN)/python -m build --wheel
