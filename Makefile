# Two commands: `make train` runs the main job, `make test` the tests; each sets up what it needs in .venv first.
# A third, `make gpu`, measures a GPU; it takes the Python that is there, as such machines often come without a network.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OLDEST := .venv-oldest

.PHONY: train test test-fast test-oldest check gpu types docs lint format clean

train: $(VENV)/.run  ## Train a mask detector on the built-in sample, in minutes on two CPU cores
	$(BIN)/python train.py --data mask.yaml --cfg yolov5n --imgsz 224 --batch-size 16 --epochs 36 --name sample
	@echo "Curves, pictures and weights are in runs/train/, in the newest folder called sample"

test: $(VENV)/.dev lint  ## All tests, the slow ones included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-fast: $(VENV)/.dev lint  ## Without the slow tests, for every edit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not slow"

test-oldest: $(OLDEST)/.dev  ## Fast tests with the oldest versions that requirements.txt allows, on Python 3.12 where it is
	COVERAGE_CORE=sysmon OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -n auto -m "not slow" --cov=. --cov-report=term:skip-covered \
	    tests/data tests/models tests/optimizers tests/schedulers tests/utils

check: lint types docs test-oldest test  ## What continuous integration runs

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev  ## The documentation as a site, in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

gpu:  ## What only a GPU can show, in nine minutes: ARGS="--data mask.yaml --peer ../yolov5 --out results", see docs/speed.md
	$(if $(wildcard $(VENV)/.run),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/.dev: $(wildcard requirements*.txt) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@ $(VENV)/.run

$(OLDEST)/.dev: $(wildcard requirements*.txt) | $(VENV)/.dev
	$(BIN)/uv venv --quiet --clear --no-python-downloads --python "$$(.ci/other-python || echo $(PYTHON))" $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python pytest pytest-xdist pytest-cov hypothesis
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) site .mypy_cache .coverage .pytest_cache .ruff_cache .hypothesis
