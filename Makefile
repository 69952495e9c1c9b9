# Conveniences: each target makes the environment it needs. Nothing here is needed by `dvc repro`, `mlflow ui` or
# `pytest` in the activated environment.
.PHONY: help repro plan split recommend ui sync lint audit browser ray postgres test chaos check
PYTHON ?= python3
BIN := .venv/bin
# Without byte-compiling 2 GB, of which a tenth is ever imported: that tenth is compiled once all is installed.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
LOCKED := $(PIP) --no-deps --require-hashes --requirement
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Which Python does as it imports: where a shell forbids it, each process would compile anew what it imports, for seconds.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make repro   run the plan in params.yaml and show the results; JOBS=2: cells that train, two side by side"
	@echo "make test    run the tests"
	@echo "make recommend  which cell to take under other limits: BUDGET=\"latency_p50_ms=2 score=0.8\""
	@echo "make ui      browse the results in MLflow, on this machine only"
	@echo "make plan    list the cells of the plan, which are stale, and what they are expected to cost"
	@echo "make split   a plan of hundreds of cells as many dvc.yaml: BY=\"task model\", or none for one grid again"
	@echo "make check   format, lint, types, import layers, known holes and licences of what is installed, tests"
	@echo "make chaos   kill dvc repro KILLS=100 times and compare with a run that nobody disturbed"
	@echo "make sync    bring the tracking store level with the files"

$(BIN)/.made: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@{ dvc root; python -c "from pipeline.system.preload import server; server.ready()"; } >/dev/null 2>&1 || true
	@touch $@

# What the tests run with, each file by its hash. Of torch a place that pip knows may have the build for CPUs alone.
$(BIN)/.dev: pyproject.toml $(wildcard requirements/*.txt)
	test -d .venv || $(PYTHON) -m venv .venv
	$(LOCKED) requirements/torch-cpu.txt 2>/dev/null || $(LOCKED) requirements/torch.txt
	$(LOCKED) requirements/tests.txt
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $(BIN)/.made $@

repro: $(BIN)/.made
	@python -m pipeline.system.dvc_lock_repair
	@test ! -d parts || python -m pipeline.cli.split
	$(if $(JOBS),python -m pipeline.cli.run $(JOBS),dvc repro)
	@python -m pipeline.stages.compare show

plan: $(BIN)/.made
	@python -m pipeline.runner.plan_status

split: $(BIN)/.made
	@python -m pipeline.cli.split $(BY)

recommend: $(BIN)/.made
	@python -m pipeline.cli.recommend $(BUDGET)

ui: $(BIN)/.made
	@python -m pipeline.cli.tracking ui

sync: $(BIN)/.made
	@python -m pipeline.cli.tracking sync

lint: $(BIN)/.dev
	ruff format --check .
	ruff check .
	mypy
	lint-imports

# A browser for the tests of what a browser shows: where it cannot be had, they are skipped and say so.
browser:
	@{ which chromium chromium-browser google-chrome | grep -q . && which chromedriver; } >/dev/null 2>&1 || \
	  { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium chromium-driver >/dev/null; } || \
	  echo "no browser here: install chromium and chromedriver for all of the tests"

# Ray with a cloudpickle of its own, and PostgreSQL, for the tests of clusters: likewise.
ray: $(BIN)/.dev requirements/ray.txt
	@test -d .venv/ray || $(LOCKED) requirements/ray.txt --target .venv/ray || \
	  { rm -rf .venv/ray; echo "no Ray here: its test is skipped"; }

postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || which initdb >/dev/null || \
	  { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql >/dev/null; } || \
	  echo "no PostgreSQL here: install postgresql for all of the tests"

test: $(BIN)/.dev browser ray postgres
	pytest

# Known holes in what is installed, where an index of them answers; and no licence that binds those who serve results.
audit: $(BIN)/.dev
	@python -m requirements.audit
	@pip-licenses --summary --partial-match --fail-on "AGPL;Affero;SSPL;Server Side;Business Source;Commons Clause"

# Kills `dvc repro` again and again in a copy of the project: KILLS=100 SEED=...; half an hour for the shipped plan.
KILLS ?= 100
chaos: $(BIN)/.made
	@python -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

check: lint audit test
