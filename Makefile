# Two commands: `make train` runs the main job, `make test` the tests; each sets up what it needs in .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    := runs/train/sample

.PHONY: train test test-fast lint format clean

train: $(VENV)/.run  ## Train a mask detector on the built-in sample, in minutes on two CPU cores
	$(BIN)/python train.py --data mask.yaml --hyp small.yaml --cfg yolov5n --lr-policy sgdr --imgsz 224 --epochs 30 \
	    --batch-size 16 --nbs 16 --name sample
	@echo "Pictures, curves and weights: runs/train/ (the newest folder called sample*)"

test: $(VENV)/.dev lint  ## All tests, the slow ones included
	$(BIN)/python -m pytest -q

test-fast: $(VENV)/.dev lint  ## Without the slow tests, for every edit
	$(BIN)/python -m pytest -q -m "not slow"

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

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
