# make demo: the paper's Tables 4, 5 and 6 in small.   make test: what to run before a commit.   make test-all: everything.
# Both make .venv themselves, as make install does; PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# tests/conftest.py says which tests share a process; the longest come first.
BOTH_CORES := --numprocesses 2 --dist loadscope --no-loadscope-reorder
# Tests start many processes; without the compiled files each of them compiles all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-all fuzz soak lint docs gpu clean

install: $(READY)

demo: $(READY)
	$(BIN)/reskd data make-demo data/demo
	$(BIN)/reskd run sweeps/demo.yaml

# What to run before a commit: of the tests on a real Ray the one from end to end.
test: lint
	$(BIN)/pytest -m "end_to_end or not (ray or server or slow)" $(BOTH_CORES)

# Everything; what a change must pass before it lands.
test-all: lint
	$(BIN)/pytest --hypothesis-profile full $(BOTH_CORES)

# Many new examples of each property, of mutated sweeps and annotation lists; what fails becomes a case of a test.
fuzz: $(READY)
	$(BIN)/python -m tests.support.fuzz
	$(BIN)/pytest -m "hypothesis and not (ray or server)" --hypothesis-profile fuzz $(BOTH_CORES)

# An hour of attacks on small runs, added to docs/reliability/; SEED=2 draws others.
SEED ?= 0
soak: $(READY)
	$(BIN)/python -m benchmarks.soak --minutes 60 --seed $(SEED)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The pages as a site: open build/site/index.html.
docs: $(READY)
	$(BIN)/python docs/site/sweep_reference.py
	$(BIN)/mkdocs build --strict --quiet

# What has to be seen on a GPU, into docs/gpu/; cut short, it goes on when called again.
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
