# Everything a checkout needs. Each target makes what it depends on: `make demo` on a fresh clone just works.
VENV ?= .venv
PY ?= $(VENV)/bin/python
ARGS ?=
MINUTES ?= 5
SEED ?= 1
SEEDS ?= 2000
WORKERS ?= 3

# With PY given from outside (PY=python make test) that interpreter is used as it is and nothing is installed.
ifeq ($(origin PY),file)
DEMO_READY := $(VENV)/.ready-demo
DEV_READY := $(VENV)/.ready-dev
endif

# Where it is set, each of the many processes that tests and owners are made of would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# Two installs into one environment must not run at the same time (`make -j`).
.NOTPARALLEL:
.PHONY: help setup demo test lint bench drills test-chaos test-faults test-fences test-sim test-soak check-wheel format clean

help:         ## Print this list
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

setup: $(DEV_READY) ## Make .venv with everything for development

demo: $(DEMO_READY) ## Real data, a conflict, a kill, an outage, a trace: about a minute and a half
	@$(PY) -m parquedb.cluster.cli demo $(ARGS)

test: $(DEV_READY) ## Run the tests with costly checks on; ARGS="-k name" narrows, WORKERS=0 is one process
	PARQUEDB_VERIFY=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(DEV_READY) ## Formatting, lint, types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

bench: $(DEV_READY) ## Run the benchmarks
	$(PY) -m benchmarks $(ARGS)

drills: $(DEV_READY) ## The incidents of docs/runbook.md, for real: ten minutes; ARGS="--only storage-down" is one
	$(PY) -m tests.drills $(ARGS)

test-faults: $(DEV_READY) ## Kill processes, stall servers: minutes
	PARQUEDB_VERIFY=1 $(PY) -m pytest -m faults $(ARGS)

test-chaos: $(DEV_READY) ## Processes, nodes, network and disks fail for MINUTES=5, by schedule (SEED=1)
	$(PY) -m tests.support.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

test-fences: $(DEV_READY) ## A thousand hand-overs between owners that never stop writing: some minutes
	PARQUEDB_VERIFY=1 $(PY) -m pytest -m soak tests/faults/test_two_owners.py $(ARGS)

test-sim: $(DEV_READY) ## Simulate: SEEDS=10000 or SEEDS=2000-4000; ARGS=--bugs or ARGS="--replay 7"
	$(PY) -m tests.support.sim_run --seeds $(SEEDS) $(ARGS)

test-soak: $(DEV_READY) ## Long runs
	PARQUEDB_VERIFY=1 $(PY) -m pytest -m soak $(ARGS)

check-wheel: $(DEV_READY) ## Build the wheel, look inside, test it away from the checkout
	$(PY) .ci/check_wheel.py

format: $(DEV_READY) ## Format the code and fix what lint can fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

clean:        ## Remove what was built; .venv stays
	rm -rf build dist .wheel *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The newest python3 is not always the default one; a Debian python3 may lack `ensurepip`.
$(VENV)/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$python" --version)."; exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "Python 3.11 or newer with the venv module is needed (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1

# One environment, two stages: the demo waits for less than development does, and neither removes the other's packages.
# A stage is made again when pyproject.toml changes.
$(VENV)/.ready-demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing ParqueDB, Ray and the demo's data set into $(VENV): one to three minutes, once."
	@$(PY) -m pip install -qq --disable-pip-version-check -e ".[demo]"
	@touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing ParqueDB and the development tools into $(VENV): three to four minutes, once."
	@$(PY) -m pip install -qq --disable-pip-version-check -e ".[dev]"
	@touch $(VENV)/.ready-demo $@
