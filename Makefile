# Everything a newcomer types: `make demo`, `make test`, `make run`.
# The tiers of the suite: `make unit`, `make test`, `make test-all`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

ROUNDS ?= 5
SEED ?= 1
REPORT ?= chaos-output.json
SWEEPS ?= 1
SECOND_INDEX ?=
CLOCKS ?= 0
MINUTES ?= 10
SOAK_REPORT ?= soak-output.json
IMAGES ?= 1000000
VOLUME_DATA ?= volume-data
CALLS ?= 10000
PYTEST ?=
# Processes that run tests at once, each with servers and a stack of its own: one more than the
# cores of a small machine, since many tests wait. Units do not wait.
PROCESSES ?= 3
UNIT_PROCESSES ?= $(if $(filter 1,$(PROCESSES)),1,2)
WITNESS ?= tests/integration/catalog
CROWD ?= 0
PICTURES ?=
URL ?= http://127.0.0.1:8000
TAKEOVER_REPORT ?= takeover-output.json

.PHONY: demo test test-all run setup lint format unit coverage docs chaos takeover soak volume fuzz
.PHONY: audit bench-retrieval bench-sweeps bench-start witness

setup: $(VENV)/.ready

# pip's own environment variables choose another index, such as one with CPU-only torch.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/python -m tools.demo --output demo-output

# Units, real servers on loopback, and the real stack over HTTP. A module's tests share servers,
# so they stay together; modules begin in the order of their names, the longest first.
SPREAD = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: unit
	$(BIN)/python -m pytest $(PYTEST) $(SPREAD) tests/integration
	$(BIN)/python -m pytest $(PYTEST) $(SPREAD) tests/e2e

# And with Node.js and a browser; then broken on purpose and under a steady load, which wants the
# machine for itself.
test-all: test
	$(BIN)/python -m pytest $(PYTEST) tests/node
	$(BIN)/python -m pytest $(PYTEST) tests/chaos tests/takeover tests/soak

# The tests of the catalogue on another document database; see docs/own-servers.md. Those of the
# workers as well, 13 minutes: WITNESS="tests/integration/catalog tests/integration/workers".
witness: setup
	$(BIN)/python -m pytest --catalogue-server secantusdb $(SPREAD) $(WITNESS) $(PYTEST)

# Without a plugin that no unit test uses and that takes a second to load in each process.
unit: setup
	$(BIN)/python -m pytest $(PYTEST) -n $(UNIT_PROCESSES) --dist worksteal \
		-p no:schemathesis tests/unit

# The lines that unit and integration tests reach. Processes that tests start are not looked into.
coverage: setup
	$(BIN)/python -m pytest $(PYTEST) -n 2 --cov --cov-report= tests/unit
	$(BIN)/python -m pytest $(PYTEST) --cov --cov-append --cov-report=term-missing:skip-covered \
		tests/integration

# Breaks the real stack on purpose and audits what is left; see docs/reliability.md.
chaos: setup
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --seed $(SEED) --report $(REPORT) \
		--sweeps $(SWEEPS) --clocks $(CLOCKS) $(if $(SECOND_INDEX),--second-index)

# Freezes the process that owns the index, again and again; see docs/reliability.md.
takeover: setup
	$(BIN)/python -m tests.takeover --rounds $(ROUNDS) --seed $(SEED) --report $(TAKEOVER_REPORT)

# A steady load, after which nothing may have grown; see docs/reliability.md.
soak: setup
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --report $(SOAK_REPORT)

# Times on a large catalogue beside those on a small one; see docs/sizing.md. The files that it
# makes at first are kept: 10 minutes and some 2 GB for 1,000,000 images.
volume: setup
	$(BIN)/python -m tests.volume --images $(IMAGES) --folder $(VOLUME_DATA)

# Calls made of /openapi.json, sent to a running stack whose data may be erased; a key for it
# is taken from FUZZ_API_KEY. See docs/security.md.
fuzz: setup
	$(BIN)/python -m tests.integration.operations.fuzz_calls --calls $(CALLS) --url $(URL)

# Known faults of what constraints.txt pins; asks a service on the internet, so not in `test`.
# What it could not look up is a failure, too.
audit: setup
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# How well products are found, with the model that the settings name; see docs/retrieval.md.
# Fetches GPL packages into a folder that is never committed. PICTURES=FOLDER adds photographs of
# your own; CROWD=20500 takes an hour more.
bench-retrieval: setup
	$(BIN)/python -m tools.benchmarks.retrieval --crowd $(CROWD) \
		$(if $(PICTURES),--pictures '$(PICTURES)')

# How soon dead workers' chunks are sent again behind 100,000 messages, and how fast what had its
# time goes; see docs/reliability.md.
bench-sweeps: setup
	$(BIN)/python -m tools.benchmarks.sweeps

# How soon a new index process answers, with snapshots and without; see docs/sizing.md.
bench-start: setup
	$(BIN)/python -m tools.benchmarks.start

docs: setup
	$(BIN)/python docs/make_reference.py

# Writes what `lint` checks of style, as far as ruff can.
format: setup
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

run: setup
	$(if $(HOST),SNAPSKU_HOST=$(HOST)) $(if $(PORT),SNAPSKU_PORT=$(PORT)) $(BIN)/snapsku up
