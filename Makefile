# Everything runs from a fresh clone: each target sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: install demo test lint bench clean

install: $(VENV)/.dev

$(VENV)/.llm: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[llm]'
	touch $@

$(VENV)/.dev: $(VENV)/.llm
	$(PIP) --editable '.[llm,tensorboard,dev]'
	touch $@

demo: $(VENV)/.llm
	$(BIN)/rebel-pref demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pref_voting asks for a numba that the pinned NumPy is too new for; what is measured of it runs with the pinned one.
$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[llm,tensorboard,dev,bench]'
	$(PIP) --no-deps pref_voting
	touch $@

# Every benchmark runs, whatever bar the one before it missed.
bench: $(VENV)/.bench
	status=0; \
	for name in self_play solver_speed solver_fuzz theory preference_serving preference_models; do $(BIN)/python -m benchmarks.$$name || status=1; done; \
	exit $$status

clean:
	rm -rf $(VENV) build *.egg-info runs .pytest_cache .mypy_cache .ruff_cache
