# The whole project in a few words. `make run` needs Python 3.11 or newer with pip, and make; nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUIET := install --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip $(QUIET)
DEMO := demo
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-train test-trainers check bench setup clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(VENV)/.ready ## make .venv and install what a run needs (again only where something changed)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: Python 3.11 or newer is needed'; echo; echo 'hint: make PYTHON=python3.12 run'; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV) …'
	@$(PIP) -c constraints.txt -e .
	@touch $@

# What the tests need on top; a few packages come without what they would pull in (the file says why).
$(VENV)/.ready-test: $(VENV)/.ready tests/requirements-alone.txt
	@echo 'installing what the tests need …'
	@$(PIP) -c constraints.txt -e '.[all,test]'
	@$(PIP) --no-deps --ignore-requires-python -r tests/requirements-alone.txt
	@touch $@

run: $(VENV)/.ready ## all stages with the bundled sample and the stand-in endpoint, into demo/: no key, no cost
	@$(BIN)/python run.py --offline --workspace $(DEMO)
	@echo
	@echo 'The report:  $(DEMO)/report/report.md   and for the browser:  $(DEMO)/report/index.html'
	@echo
	@echo 'The real thing, with CHUTES_API_KEY (or your own endpoint) in the environment or in .env:'
	@echo '    $(BIN)/python run.py --plan     what it would call and cost'
	@echo '    $(BIN)/python run.py            do it; run it again after an interruption'

# Tests wait for processes and bounds: with two workers a third of two cores is idle, and six share their caches badly.
test: $(VENV)/.ready-test $(VENV)/.compiled ## the test suite
	@$(BIN)/python -m pytest -n 4 --dist worksteal

# pytest compiles each test file; where one process has done so, the workers need not (20 s of CPU).
$(VENV)/.compiled: $(VENV)/.ready-test $(wildcard tests/*.py tests/*/*.py)
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || true
	@touch $@

# What trains is large: it has an environment of its own.
TRAIN := .venv-train

$(TRAIN)/.ready: pyproject.toml constraints.txt tests/requirements-alone.txt
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	@echo 'installing torch and trl into $(TRAIN) …'
	@$(TRAIN)/bin/python -m pip $(QUIET) -c constraints.txt -c tests/requirements-alone.txt -e '.[train]'
	@$(TRAIN)/bin/python -m pip $(QUIET) --no-deps llamafactory==0.9.5
	@touch $@

# axolotl and unsloth want versions of torch, transformers and trl of their own: an environment for each.
.venv-axolotl/.ready .venv-unsloth/.ready: .venv-%/.ready: pyproject.toml
	@$(PYTHON) -m venv .venv-$*
	@echo 'installing $* into .venv-$* …'
	@.venv-$*/bin/python -m pip $(QUIET) $*
	@.venv-$*/bin/python -m pip $(QUIET) -e . hypothesis pytest
	@touch $@

test-trainers: .venv-axolotl/.ready .venv-unsloth/.ready ## run axolotl's reader and unsloth's trainer on their recipes
	@.venv-axolotl/bin/python -m pytest -p no:anyio tests/train/test_axolotl.py
	@.venv-unsloth/bin/python -m pytest -p no:anyio tests/train/test_unsloth.py

test-train: $(TRAIN)/.ready ## train two steps on every format, on the CPU with a tiny random model
	@$(TRAIN)/bin/python -m pytest tests/train

check: $(VENV)/.ready-test ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.ready-test ## the measurements behind the figures in the documentation
	@$(BIN)/python -m bench.calls
	@for row in gate report sampling audit sessions leaks execution; do echo; echo "== $$row"; $(BIN)/python -m bench.$$row || exit 1; done

clean: ## remove the demo and the caches; the environment stays
	@rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
