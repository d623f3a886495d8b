# Two commands for everyone: `make run` and `make test`. Everything else is for contributors.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check format lock bench docs clean test-tools

run: $(VENV)/.installed ## start Jarvis and print one link
	@$(BIN)/jarvis up

test: $(VENV)/.installed test-tools ## run all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.installed ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m docs.vectors --check
	$(BIN)/python -m nebula.db.drift

test-tools: ## Chromium and bubblewrap for the tests, from the system's packages when missing
	@bash deploy/install-test-tools.sh

bench: $(VENV)/.installed ## compare with peers, print the table
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps --require-hashes -r benchmarks/requirements.lock
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed ## write the generated reference and vectors
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.vectors

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.installed ## resolve what is needed into both lock files
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-emit-index-url \
		--extra dev --extra redis-embedded -o requirements.lock
	$(BIN)/uv pip compile benchmarks/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url -c requirements.lock -o benchmarks/requirements.lock
	$(BIN)/uv pip compile node/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url -c requirements.lock -o node/requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@"$(or $(PYTHON),python3.11)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: install python3.11, or name one: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python cannot make a virtual environment here; on Debian: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	@echo "Installing packages (the first time takes a minute)…"
	@# uv takes seconds; pip takes minutes but knows this machine's own index and certificates.
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --compile-bytecode --no-deps --require-hashes -r requirements.lock || \
		{ echo "uv could not; pip tries with this machine's settings…"; \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock; }
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
