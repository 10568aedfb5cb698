# Everything happens in .venv, made on first use. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test coverage types lint format docs clean
.DEFAULT_GOAL := help

help:  ## show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## train two sample styles offline, then paint three photos (minutes)
	$(BIN)/fst-train $(if $(STEPS),--steps $(STEPS)) --styles \
		datasets/samples/styles/stained_glass.jpg \
		datasets/samples/styles/linocut.jpg
	$(BIN)/fst-infer datasets/samples/content --all-styles -o paintings

test: $(VENV)/.installed  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

coverage: $(VENV)/.installed  ## run the tests and tell which lines none of them runs
	$(BIN)/pip install -q "pytest-cov>=6"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov fst --cov-report term-missing:skip-covered

types: $(VENV)/.installed  ## check the types of the public API, as its users' checkers see them
	$(BIN)/pip install -q "mypy>=1.15"
	$(BIN)/python -m mypy --strict --follow-imports=silent --ignore-missing-imports tests/typed_api.py

lint: $(VENV)/.installed  ## check style
	$(BIN)/pip install -q "ruff>=0.9"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed  ## mend style
	$(BIN)/pip install -q "ruff>=0.9"
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed  ## build the documentation as a site, in build/site
	$(BIN)/pip install -q -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:  ## remove the environment and caches
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e ".[test]"
	touch $@
