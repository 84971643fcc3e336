# Everything a newcomer types: `make demo`, `make test`, `make run`.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
BIN = $(VENV)/bin

.PHONY: demo test run setup lint unit docs

setup: $(VENV)/.ready

# pip's own environment variables choose another index, such as one with CPU-only torch.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/python -m demo --output demo-output

test: setup
	$(BIN)/python -m pytest

unit: setup
	$(BIN)/python -m pytest tests/unit

docs: setup
	$(BIN)/python docs/make_reference.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

run: setup
	SNAPSKU_HOST=$(HOST) SNAPSKU_PORT=$(PORT) $(BIN)/snapsku up
