# Everything a fresh clone needs: `make demo` shows what shinso does, `make test` checks all of it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Where the unpacked data sets and the peers' environments lie; made below benchmarks/ when not given.
DATA ?=
PEERS ?= benchmarks/.peers

.PHONY: demo test check install clean figures bench bench-short

$(BIN)/shinso: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'shinso needs Python 3.11 or newer; set PYTHON=')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $(BIN)/shinso

$(VENV)/tests-installed: $(BIN)/shinso
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

install: $(BIN)/shinso

demo: $(BIN)/shinso
	rm -rf digits runs/digits
	$(BIN)/shinso samples digits
	$(BIN)/shinso train digits --out runs/digits
	@echo "Open runs/digits/report.html in a browser."

test: $(VENV)/tests-installed check
	$(BIN)/python -m pytest

check: $(VENV)/tests-installed
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

figures: $(VENV)/tests-installed
	$(BIN)/python benchmarks/figures.py

bench: $(VENV)/tests-installed
	$(BIN)/python benchmarks/bench.py --peers $(PEERS) $(if $(DATA),--data $(DATA))

bench-short: $(VENV)/tests-installed
	$(BIN)/python benchmarks/bench.py --short --dry

clean:
	rm -rf $(VENV) digits runs build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
