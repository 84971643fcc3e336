# Everything a newcomer types: `make demo`, `make test`, `make run`.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
BIN = $(VENV)/bin

ROUNDS ?= 5
SEED ?= 1
REPORT ?= chaos-output.json
MINUTES ?= 10
SOAK_REPORT ?= soak-output.json

.PHONY: demo test run setup lint unit docs chaos soak

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

# Breaks the real stack on purpose and audits what is left; see docs/reliability.md.
chaos: setup
	$(BIN)/python tests/chaos --rounds $(ROUNDS) --seed $(SEED) --report $(REPORT)

# A steady load, after which nothing may have grown; see docs/reliability.md.
soak: setup
	$(BIN)/python tests/soak --minutes $(MINUTES) --report $(SOAK_REPORT)

docs: setup
	$(BIN)/python docs/make_reference.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

run: setup
	SNAPSKU_HOST=$(HOST) SNAPSKU_PORT=$(PORT) $(BIN)/snapsku up
