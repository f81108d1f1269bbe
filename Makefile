# Both commands set themselves up: `make demo` runs the main job, `make test` the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-whole test-parts test-pure unit lint chaos soak clean
demo: $(VENV)/ready
	$(BIN)/shadowstream demo

# Three parts side by side: two wait for much of their time, and the third, of low priority, computes meanwhile.
test: $(VENV)/ready
	@echo 'Three parts side by side, each shown when it ends, after some 11 minutes on two cores.'
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target test-whole test-parts test-pure

test-whole: $(VENV)/ready
	$(BIN)/python -m pytest tests/e2e tests/contract

test-parts: $(VENV)/ready
	$(BIN)/python -m pytest tests/integration tests/faults

test-pure: $(VENV)/ready
	nice -n 10 $(BIN)/python -m pytest tests/unit tests/property

unit: $(VENV)/ready
	$(BIN)/python -m pytest tests/unit

# Random faults on a join under load, for so long; the seed decides which. `make chaos MINUTES=10 SEED=7`
MINUTES ?= 10
SEED ?= 1
chaos: $(VENV)/ready
	$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) --seed $(SEED)

# A steady load whose reader stands still for so long: memory must stay flat, and then everything must come.
RATE ?= 300
soak: $(VENV)/ready
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --rate $(RATE) $(LOOP)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt 'torch' -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .shadowstream .mypy_cache .ruff_cache .hypothesis
