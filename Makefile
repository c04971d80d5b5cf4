# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
TESTS ?= tests
# More than there are cores: most tests wait for Kafka, locks and time-outs.
PROCESSES ?= 3
PYTEST = $(BIN)/pytest $(PYTEST_OPTIONS)
SIDE_BY_SIDE = $(PYTEST) --numprocesses $(PROCESSES) -m "not timing"
# Promises about seconds are measured alone; 5 says that there is none among the tests that were named.
ALONE = $(PYTEST) -m timing
OR_NONE = || [ $$? = 5 ]

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-integration test-system test-rules test-image test-chart image check bench faults fuzz generated lock clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# The stamp is made last, so an interrupted setup is taken up again.
setup: .venv/.ready ## .venv with exactly what requirements.lock says

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Milepost needs Python 3.11 or newer, this is " + sys.version.split()[0] + " (say which: make PYTHON=python3.12 ...)" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Kafka, a worker and the sample programme, until Ctrl-C
	@$(BIN)/milepost demo

test: setup check ## check and all tests; TESTS="tests/unit -k cycle" names some
	$(SIDE_BY_SIDE) $(TESTS) $(OR_NONE)
	$(ALONE) $(TESTS) $(OR_NONE)
	@echo "Groups of their own, which install more: make test-image, make test-chart"

test-unit: setup ## one module each: no broker, no database server
	$(SIDE_BY_SIDE) tests/unit

test-integration: setup ## a real Kafka, SQLite and PostgreSQL; properties that hold for every input
	$(SIDE_BY_SIDE) tests/integration tests/properties
	$(ALONE) tests/integration tests/properties

test-system: setup ## what a user sees: command line, demo, board in a browser; some faults
	$(SIDE_BY_SIDE) tests/system tests/faults
	$(ALONE) tests/system tests/faults

test-rules: setup ## alert rules and metrics with promtool, routes with amtool
	$(SIDE_BY_SIDE) tests/rules

test-image: setup .venv/.test-image .venv/.test-chart ## the image built twice, and the whole system run in containers; takes root, podman, buildah, runc, mmdebstrap
	$(PYTEST) tests/image

test-chart: setup .venv/.test-chart ## the Helm chart and the files around it; takes 200 MB more
	$(SIDE_BY_SIDE) tests/chart

# What these groups need beside, of their own locks: `make setup` brings none of it.
.venv/.test-%: requirements-test-%.lock .venv/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $<
	@touch $@

image: ## the container image, by docker, podman or buildah; deploy/image/build.sh has its options
	@deploy/image/build.sh

check: setup ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## how fast it is here, into docs/benchmarks.md; BENCH="schedule record --runs 1" names some
	@$(BIN)/python -m tests.benchmarks $(or $(BENCH),--write)

faults: setup ## what holds when things break; FAULTS="--runs 1 --only kill" names some, "--soak 30m" all at once
	@$(BIN)/python -m tests.faults $(FAULTS)

fuzz: setup ## what outsiders send, changed at random, for ten minutes; FUZZ="--minutes 1 --only decode"
	@$(BIN)/python -m tests.fuzz $(FUZZ)

generated: setup ## docs/events.md, docs/metrics.md, the page of the runbook, Grafana's dashboards and the chart's copies anew
	$(BIN)/python -m deploy.events_docs docs/events.md
	$(BIN)/python -m deploy.metrics_docs docs/metrics.md
	$(BIN)/python -m deploy.runbook_html
	$(BIN)/python -m deploy.grafana deploy/grafana/dashboards
	$(BIN)/python -m deploy.helm

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header
lock: setup ## resolve pyproject.toml anew into requirements.lock, and the other locks after it
	$(LOCK) --group dev --extra demo --extra notify --upgrade --output-file requirements.lock pyproject.toml
	$(LOCK) --extra notify --constraint requirements.lock --output-file requirements-image.lock pyproject.toml
	$(LOCK) --group test-image --constraint requirements.lock --upgrade --output-file requirements-test-image.lock
	$(LOCK) --group image-build --constraint requirements.lock --upgrade --output-file requirements-build.lock
	$(LOCK) --group test-chart --constraint requirements.lock --upgrade --output-file requirements-test-chart.lock

clean: ## everything that make and the demo made
	rm -rf .venv .milepost .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
