# Two commands: `make train` runs the main job, `make test` the tests; each sets up what it needs in .venv first.
# A third, `make gpu`, measures a GPU; it takes the Python that is there, as such machines often come without a network.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: train test test-fast gpu lint format clean

train: $(VENV)/.run  ## Train a mask detector on the built-in sample, in minutes on two CPU cores
	$(BIN)/python train.py --data mask.yaml --hyp small.yaml --cfg yolov5n --imgsz 224 --batch-size 16 --nbs 16 \
	    --epochs 30 --optim adamw --lr0 0.003 --lr-policy sgdr --name sample
	@echo "Curves, pictures and weights are in runs/train/, in the newest folder called sample"

test: $(VENV)/.dev lint  ## All tests, the slow ones included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-fast: $(VENV)/.dev lint  ## Without the slow tests, for every edit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not slow"

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

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
