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

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.self_play

clean:
	rm -rf $(VENV) build *.egg-info runs .pytest_cache .mypy_cache .ruff_cache
