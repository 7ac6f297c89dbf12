# Everything sets itself up in $(VENV) first; a second call reuses it.
#   make demo [DEMO=quick]   make test   make check   make help
# Another interpreter: make install PYTHON=/path/to/python3.12
# Pretraining only, no compiler needed: make install EXTRAS=tests

SHELL := /bin/sh
VENV ?= .venv
EXTRAS ?= downstream,tests,docs
DEMO ?= full
# Arguments of the comparison, such as COMPARE="--methods BYOL CARE --seeds 0".
COMPARE ?=
# Test processes: one per CPU, at most four.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ "$$n" -gt 4 ] && n=4; echo $$n)

BIN := $(VENV)/bin
# The environment's interpreter if there is one, or the first that is new enough; else empty.
FIND_PYTHON = for python in $(BIN)/python python3 python3.13 python3.12 python3.11 python3.10 python; do \
	if command -v $$python >/dev/null 2>&1 && \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; \
	then echo $$python; break; fi; done
PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install setup demo claims docs test test-slow test-gpu check lint types docstrings doctests clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" \
		read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

setup:
	@python="$(PYTHON)"; [ -n "$$python" ] || python="$$($(FIND_PYTHON))"; \
	if [ -z "$$python" ]; then \
		echo "mmssl set-up: no Python 3.10 or newer was found (python3 is $$(python3 --version 2>&1));" \
			"install one or name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
		echo "mmssl set-up: $$python is not Python 3.10 or newer ($$("$$python" --version 2>&1));" \
			"install one or name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	"$$python" tools/setup_env.py --venv "$(VENV)" --extras "$(EXTRAS)"

install: setup ## Set up the environment (compiles mmcv once: some minutes)
	@$(BIN)/python tools/setup_env.py --venv "$(VENV)" --extras "$(EXTRAS)" --check

demo: setup ## Pretrain, evaluate and fine-tune on drawn images; DEMO=quick for a short one
	$(BIN)/python tools/demo.py $(DEMO)

claims: setup ## Compare all methods on drawn images, with verdicts on the articles' claims (hours)
	$(BIN)/python tools/compare.py $(COMPARE)

test: setup ## Run the tests, without slow ones and those for a GPU
	$(PYTEST) $(PARALLEL) -m "not slow and not gpu"

test-slow: setup ## Run the slow tests
	$(PYTEST) $(PARALLEL) -m "slow and not gpu"

test-gpu: setup ## Run the tests that need an accelerator
	MMSSL_GPU_TESTS=1 $(PYTEST) -m gpu

docs: setup ## Build the documentation in build/site and check its links
	$(BIN)/python -m sphinx -c docs -b html -W --keep-going -q . build/site
	$(BIN)/python tools/checks/site.py build/site

check: lint types docstrings doctests ## Lint, format, types, docstrings, spelling, unit and parity tests
	$(PYTEST) $(PARALLEL) -m "not slow and not gpu" tests/unit tests/parity

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/shellcheck tools/*.sh .ci/run

types: setup
	$(BIN)/mypy

docstrings: setup
	$(BIN)/python tools/checks/docstrings.py mmssl

doctests: setup
	$(PYTEST) $(PARALLEL) --doctest-modules mmssl tools/setup_env.py tools/checks

clean: ## Remove the environment, caches and build files (kept: data/, work_dirs/, compiled wheels)
	rm -rf "$(VENV)" build dist .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find mmssl tools tests configs -name __pycache__ -type d -prune -exec rm -rf {} +
