# The two commands of a fresh machine:  make demo  and  make test. The first use of each makes the environment.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/digits

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
CORE := $(VENV)/.latelier-core
DEV := $(VENV)/.latelier-dev

.PHONY: demo test slow lint format types docs clean
.NOTPARALLEL:

demo: $(DEMO)/report.html
	@echo "open $(DEMO)/report.html in a browser; another run: make demo DEMO=runs/again"

$(DEMO)/report.html: | $(CORE)
	$(BIN)/latelier demo images --out $(DEMO)

test: $(DEV)
	$(BIN)/python -m pytest

slow: $(DEV)
	$(BIN)/python -m pytest -m slow

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(DEV)
	$(BIN)/mypy

docs: $(DEV)
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

# Environment and results of runs stay; what tools can make again goes.
clean:
	rm -rf docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and alone: it is nearly all of the download, and any build of its version that is there already is kept.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Latelier needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	@echo "making the environment $(VENV): this happens once and takes a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	@touch $@

$(CORE): $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(DEV): $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) -e '.[dev,docs]'
	@touch $(CORE) $@
