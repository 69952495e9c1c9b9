# Shortcuts: each target makes the environment that it needs. In the activated environment `lab`, `dvc repro`,
# `mlflow ui` and `pytest` work without them.
.PHONY: help repro status split recommend ui sync lint audit browser ray postgres test chaos check
PYTHON ?= python3
BIN := .venv/bin
# --no-compile: Python compiles the tenth of 2 GB that is ever imported.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
LOCKED := $(PIP) --no-deps --require-hashes --requirement
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where a shell forbids bytecode, every process compiles its imports again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make repro      run the plan in params.yaml and print the results; JOBS=2 trains two cells in parallel"
	@echo "make test       run the tests"
	@echo "make status     list the cells of the plan: stale or done, seconds expected"
	@echo "make recommend  recommend a cell under other limits: BUDGET=\"latency_p50_ms=2 score=0.8\""
	@echo "make ui         browse the results in MLflow, on this machine only"
	@echo "make sync       make the MLflow store match the result files"
	@echo "make split      split the dvc.yaml of a long plan: BY=\"task model\", or BY=none"
	@echo "make check      format, lint, types, import layers, known vulnerabilities, licences, tests"
	@echo "make chaos      kill the run of the plan KILLS=100 times and compare with an undisturbed run"

$(BIN)/.made: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@{ dvc root; python -c "from pipeline.system import preload_server; preload_server.preload_modules()"; } >/dev/null 2>&1 || true
	@touch $@

# Packages of the tests, each file by its hash. Where an index has it, torch's build for CPUs.
$(BIN)/.dev: pyproject.toml $(wildcard requirements/*.txt)
	test -d .venv || $(PYTHON) -m venv .venv
	$(LOCKED) requirements/torch-cpu.txt 2>/dev/null || $(LOCKED) requirements/torch.txt
	$(LOCKED) requirements/tests.txt
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $(BIN)/.made $@

repro: $(BIN)/.made
	@lab run $(if $(JOBS),--jobs $(JOBS))

status: $(BIN)/.made
	@lab status

split: $(BIN)/.made
	@lab split $(BY)

recommend: $(BIN)/.made
	@lab recommend $(BUDGET)

ui: $(BIN)/.made
	@lab ui

sync: $(BIN)/.made
	@lab sync

lint: $(BIN)/.dev
	ruff format --check .
	ruff check .
	mypy
	lint-imports

# A browser for the tests of the report; where none can be installed, they are skipped with a reason.
browser:
	@{ which chromium chromium-browser google-chrome | grep -q . && which chromedriver; } >/dev/null 2>&1 || \
	  { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium chromium-driver >/dev/null; } || \
	  echo "no browser here: install chromium and chromedriver for all of the tests"

# Ray (with a cloudpickle that only it uses) and PostgreSQL for the tests of clusters, likewise.
ray: $(BIN)/.dev requirements/ray.txt
	@test -d .venv/ray || $(LOCKED) requirements/ray.txt --target .venv/ray || \
	  { rm -rf .venv/ray; echo "no Ray here: its test is skipped"; }

postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || which initdb >/dev/null || \
	  { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql >/dev/null; } || \
	  echo "no PostgreSQL here: install postgresql for all of the tests"

test: $(BIN)/.dev browser ray postgres
	pytest

# Known vulnerabilities of the installed packages, and no licence that restricts a service.
audit: $(BIN)/.dev
	@python -m requirements.audit
	@pip-licenses --summary --partial-match --fail-on "AGPL;Affero;SSPL;Server Side;Business Source;Commons Clause"

# Kill the run of the plan in a copy of the project: KILLS=100 SEED=...; half an hour for the shipped plan.
KILLS ?= 100
chaos: $(BIN)/.made
	@python -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

check: lint audit test
