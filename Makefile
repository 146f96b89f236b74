# jetprop: `make demo`, `make test` and `make check` work on a machine that has only make and Python 3.11 or later.
# The first of them sets up .venv; PYTHON, PIP_FLAGS and ARGS can be given: make test ARGS="-k basis".

PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := [dev,docs,explore]
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --retries 5 --timeout 60 \
	--constraint constraints.txt $(PIP_FLAGS)
# A download may fail for reasons that pip does not retry: three attempts, then the error stands.
define install
	for attempt in 1 2 3; do \
		$(PIP) $(1) && exit 0; \
		echo "make: installation failed (attempt $$attempt of 3)" >&2; \
		sleep $$((attempt * 5)); \
	done; \
	exit 1
endef

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo test slow check lint types docs bench clean
.DELETE_ON_ERROR:

help: ## Say what can be made
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Install everything into .venv

# torch goes first, so that no other requirement can pull a different build of it; hatchling builds the package itself.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make: jetprop needs Python 3.11 or later, and '$(PYTHON)' is not that; make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@test -x $(BIN)/python || echo "setting up $(VENV): this downloads torch and takes some minutes"
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "make: '$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2; \
		exit 1; }
	@$(call install,torch hatchling)
	@$(call install,--no-build-isolation --editable '.$(EXTRAS)')
	@touch $@

demo: $(READY) ## Run the demonstration
	$(BIN)/jetprop demo $(ARGS)

test: $(READY) ## Run the tests and doctests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

slow: $(READY) ## Run the tests that take minutes or need the network
	$(BIN)/python -m pytest -m slow $(ARGS)

check: lint types docs ## Run every static check, and build the documentation strictly

lint: $(READY) ## Run ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY) ## Run pyright
	$(BIN)/pyright

docs: $(READY) ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

bench: $(READY) ## Measure time and memory
	$(BIN)/jetprop bench $(ARGS)

clean: ## Remove what was built, .venv included
	rm -rf $(VENV) build dist docs/_build docs/api .pytest_cache .ruff_cache .hypothesis
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
