# Both commands set themselves up: `make demo` runs the main job, `make test` the short tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all short-whole short-parts short-cases short-factory short-pure short-unit \
	long-whole long-loop long-parts long-cases long-factory long-pure long-faults unit lint chaos soak clean
demo: $(VENV)/ready
	$(BIN)/shadowstream demo

# Parts side by side, each shown when it ends; then the ten slowest tests of all. tests/__init__.py says which are long.
TIMES := .times
PYTEST = $(BIN)/python -m pytest --junit-xml=$(TIMES)/$@.xml
PARTS = --no-print-directory --jobs=5 --output-sync=target --keep-going

test: $(VENV)/ready
	@rm -rf $(TIMES)
	@$(MAKE) $(PARTS) short-whole short-parts short-cases short-factory short-unit short-pure; code=$$?; $(BIN)/python -m tests.slowest $(TIMES); exit $$code

test-all: test
	@$(MAKE) $(PARTS) long-whole long-loop long-faults long-parts long-pure long-cases long-factory; code=$$?; $(BIN)/python -m tests.slowest $(TIMES); exit $$code

short-whole: $(VENV)/ready
	$(PYTEST) -m '$(MARK)' tests/e2e tests/contract

# The loop's slices of the year take minutes: beside the rest.
long-whole: $(VENV)/ready
	$(PYTEST) -m '$(MARK)' tests/e2e tests/contract --ignore=tests/e2e/test_loop.py

long-loop: $(VENV)/ready
	$(PYTEST) -m '$(MARK)' tests/e2e/test_loop.py

short-parts long-parts: $(VENV)/ready
	$(PYTEST) -m '$(MARK)' tests/integration

short-cases long-cases: $(VENV)/ready
	$(PYTEST) -m '$(MARK)' tests/cases

short-unit: $(VENV)/ready
	nice -n 5 $(PYTEST) -m '$(MARK)' tests/unit --ignore=tests/unit/compressors

short-pure: $(VENV)/ready
	nice -n 5 $(PYTEST) -m '$(MARK)' tests/property

# Alone: what Hypothesis tries for a seed depends on the modules that are loaded.
long-pure: $(VENV)/ready
	nice -n 5 $(PYTEST) -m '$(MARK)' tests/property/join/test_mutants.py

short-factory long-factory: $(VENV)/ready
	nice -n 5 $(PYTEST) -m '$(MARK)' tests/unit/compressors

long-faults: $(VENV)/ready
	$(PYTEST) tests/faults

short-%: MARK = not long
long-%: MARK = long

unit: $(VENV)/ready
	$(BIN)/python -m pytest tests/unit

# Random faults on a join under load, for so long; the seed decides which. `make chaos MINUTES=10 SEED=7`
# `LOOP=1`: on the whole loop, serving included.
MINUTES ?= 10
SEED ?= 1
chaos: $(VENV)/ready
	$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) --seed $(SEED) $(if $(LOOP),--loop)

# A steady load whose reader stands still for so long: memory must stay flat, and then everything must come.
RATE ?= 300
soak: $(VENV)/ready
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --rate $(RATE) tests/e2e/test_loop.py

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.constraints

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt 'torch' -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .shadowstream .mypy_cache .ruff_cache .hypothesis $(TIMES)
