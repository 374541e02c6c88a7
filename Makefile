# Set-up, tests and checks. `make setup` uses the active virtual environment, else it makes .venv.

PYTHON ?= python3
ifdef VIRTUAL_ENV
BIN := $(VIRTUAL_ENV)/bin
else
BIN := $(CURDIR)/.venv/bin
endif

.PHONY: setup run test lint format wheel board-sim

setup: $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@echo "Ready. Next: . $(BIN)/activate && python -m pyadmm.flow --board pynq-z2"

$(BIN)/python:
	$(PYTHON) -m venv $(BIN:/bin=)

run:
	$(BIN)/python -m pyadmm.flow --board pynq-z2

# Two processes on two cores: one thread each.
test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint:
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format:
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# A second environment with the real pynq, which pins numpy < 2: for --simulate-board and its tests.
board-sim:
	$(BIN)/python -m pyadmm.deploy.simulated_board.environment

wheel:
	$(BIN)/python -m build --wheel
