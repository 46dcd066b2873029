# A fresh machine needs Python >= 3.11 and a package registry, nothing else.
#
#   make demo    install into .venv, then train and evaluate on tiny synthetic scans
#   make test    the test suite
#   make docs    the documentation, into site/
#   make check   everything a change must pass: test, lint, types, imports, docs, wheel
#
# torch is installed first, by itself, because which build it should be depends on the machine:
# with an NVIDIA GPU the registry's build, else the CPU build where the registry has it (the other works too,
# it is only larger). Say TORCH="..." for another one: make demo TORCH="--index-url CPU_INDEX torch==2.13.0"

FIND_PYTHON = for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done
PYTHON ?= $(shell $(FIND_PYTHON))
ANY_TORCH := torch==2.13.0
TORCH  ?= $(if $(shell command -v nvidia-smi 2>/dev/null),$(ANY_TORCH),$(ANY_TORCH)+cpu)
VENV   ?= .venv
JOBS   ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Tests start many processes, and each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test slow lint format types imports docs web web-watch build wheel-test check clean

help:
	@sed -n 's/^#//p' Makefile | head -10

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "semiseg needs Python >= 3.11; say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH) || $(BIN)/python -m pip install --quiet $(ANY_TORCH)
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/semiseg demo

# One thread per worker: tests run side by side, and threads that wait for one another are slower than none.
test: $(STAMP)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
	  $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini
	$(BIN)/python web/build.py --types

imports: $(STAMP)
	$(BIN)/lint-imports

# The pages of `semiseg studio`, into src/semiseg/studio/static; web-watch does it again after each change.
web: $(STAMP)
	$(BIN)/python web/build.py

web-watch: $(STAMP)
	$(BIN)/python web/build.py --watch
# A warning, such as a link that leads nowhere, is an error. Nothing in the pages comes from another host.
docs: $(STAMP)
	$(BIN)/zensical build --strict
	$(BIN)/python docs/built.py site

build: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

# The wheel, alone in a clean environment, from a folder where src/ cannot be seen.
wheel-test: build
	BASE=$(abspath $(BIN))/python TORCH="$(TORCH)" ANY_TORCH="$(ANY_TORCH)" bash .ci/wheel dist

check: test lint types imports docs wheel-test

clean:
	rm -rf dist build site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
