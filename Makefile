# Needs Python 3.11 or newer and make; everything else comes from PyPI and Maven Central.
# All paths are relative: the checkout may lie in a path with blanks.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak lock clean setup prepare check-lint check-types check-floors check-config check-unit

PYTHON_CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14 python
BIN := .venv/bin
STAMP := .venv/.packages
TOOL := PYTHONPATH=include $(BIN)/python -m

# pip and uv trust what Python and the system trust, so that a company's own authority works without any setting.
SYSTEM_BUNDLE := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem))
CERTIFICATES := $(or $(SSL_CERT_FILE),$(SYSTEM_BUNDLE))
ifneq ($(CERTIFICATES),)
export PIP_CERT ?= $(CERTIFICATES)
export SSL_CERT_FILE ?= $(CERTIFICATES)
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never

help:
	@echo "make demo          set everything up and run the pipeline on live traffic (ONCE=1: a fixed amount, then check)"
	@echo "make test          set everything up and run every test"
	@echo "make check         lint, types, floors, config, drift and unit tests, in seconds"
	@echo "make bench         run the benchmarks, write bench/results.json"
	@echo "make soak          hours of random histories and faults; stop it at any time, it goes on where it was"
	@echo "make lock          make the requirements*.txt and include/config/jars.lock anew"
	@echo "make clean         stop the local cloud and delete everything that was made here"

demo: prepare
	$(BIN)/lpm demo $(if $(filter 1,$(ONCE)),--once)

test: prepare
	$(BIN)/python -m pytest

check: setup
	@$(MAKE) -k -j 2 --output-sync=target check-types check-unit check-lint check-floors check-config

check-lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types:
	$(BIN)/mypy include/lpm include/stream_job

check-floors:
	$(BIN)/lint-imports --config pyproject.toml

check-config:
	$(BIN)/lpm config check
	$(BIN)/lpm render --check

check-unit:
	$(BIN)/python -m pytest -q tests/unit

bench: prepare .venv/.bench
	$(BIN)/python -m bench

.venv/.bench: $(STAMP) requirements-bench.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r requirements-bench.txt
	@touch $@

soak: prepare
	PYTHONPATH=include:tests $(BIN)/python -m soak $(PART)

# --- set-up: each step is skipped when what it made is still newer than what it was made from -----------------------

setup: $(STAMP)

prepare: setup
	@$(BIN)/lpm local prepare

.venv/.uv: requirements-setup.txt
	@echo "[1/2] a virtual environment in .venv"
	@python=; bare=; for candidate in $(PYTHON) $(PYTHON_CANDIDATES); do \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	  bare=$$candidate; \
	done; \
	if [ -z "$$python" ] && [ -n "$$bare" ]; then \
	  echo "$$bare has no modules venv and ensurepip, which Debian and Ubuntu keep in a package of their own." >&2; \
	  echo "Install it (apt-get install python3-venv), or name another: make PYTHON=/path/to/python3 …" >&2; exit 1; \
	elif [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer found: tried $(PYTHON) $(PYTHON_CANDIDATES)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 1; \
	fi; \
	"$$python" --version && "$$python" -m venv --clear .venv
	@$(BIN)/python -m pip install -q --no-input --require-hashes -r requirements-setup.txt
	@touch $@

$(STAMP): .venv/.uv requirements-local.txt pyproject.toml
	@echo "[2/2] the packages of requirements-local.txt, into .venv"
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements-local.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# --- locks ----------------------------------------------------------------------------------------------------------

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --no-header

lock: setup
	$(COMPILE) requirements-local.in -o requirements-local.txt
	$(COMPILE) requirements.in -c requirements-local.txt -o requirements.txt
	$(COMPILE) requirements-bench.in -c requirements-local.txt -o requirements-bench.txt
	$(BIN)/lpm local lock-jars

clean:
	if [ -x $(BIN)/lpm ]; then $(BIN)/lpm local reset; fi
	rm -rf .venv .lpm build dist include/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
