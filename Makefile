# Every verb works in .venv, which `set-up` makes from requirements.lock.
.DEFAULT_GOAL := help
.PHONY: help set-up set-up-test set-up-long demo test check long bench bench-demo bench-features bench-serving bench-peers features-docs locust serve protos lock clean

PYTHON := .venv/bin/python
HOME_DIR ?= .signalbox
# One thread in every numeric library: what research and serving agree on (docs/contracts.md, kernel_fingerprint).
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

set-up:
	@.ci/setup

set-up-test:
	@.ci/setup test

set-up-long:
	@.ci/setup long

demo: set-up ## real prices to a live score, a fault, a cut and a rollback (about two minutes)
	@.venv/bin/signalbox demo --home $(HOME_DIR)

test: set-up-test ## every test (at most 15 minutes on 2 cores)
	@$(PYTHON) -m pytest

check: set-up ## ruff, mypy strict, import-linter, generated protos unchanged
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.ci/check-protos

long: set-up-long ## the tests with 5,000 examples a property, 10 million fuzzed inputs, ten minutes of soak
	@$(PYTHON) -m pytest --hypothesis-profile long
	@$(PYTHON) -m loadtests.fuzzing.run
	@$(PYTHON) -m loadtests.soak

bench: bench-demo bench-features bench-serving bench-peers ## every bench; results go to docs/benchmarks

bench-demo: set-up ## how long the demo takes and what it needs
	@$(PYTHON) -m loadtests.demo

bench-features: set-up ## batch against online bit for bit, batch, one update, one cut-off
	@$(PYTHON) -m loadtests.feature_lines.bench

bench-serving: set-up-test ## the data plane against its bars, with h2load and with our own client
	@$(PYTHON) -m loadtests.serving.bench

bench-peers: set-up-test ## Triton, MLServer and bare echoes in C++ and Go beside Signalbox, one client for all
	@$(PYTHON) -m loadtests.peers.bench

locust: set-up ## traders, subscribers and an operator who swaps releases; fails when one answer is wrong
	@$(PYTHON) -m loadtests.locust.run

serve: set-up ## what the demo's home says is live
	@.venv/bin/signalbox serve --home $(HOME_DIR) --listen 127.0.0.1:8500

protos: set-up ## generated code from protos/
	@.ci/generate-protos .

features-docs: set-up ## the tables of docs/features.md and the identities of the library's features, from their declarations
	@$(PYTHON) -m features.describe

lock: set-up ## requirements.lock from pyproject.toml: versions and hashes, no registry address
	@.venv/bin/uv pip compile --quiet --upgrade pyproject.toml --extra serve --extra train --extra monitor --extra redis \
		--extra triton --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-annotate --output-file requirements.lock

clean: ## the environment, caches, the demo's home and rings
	@rm -rf /dev/shm/signalbox-$$(id -u)-*
	@rm -rf .venv .venv-kserve .signalbox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .cache dist
