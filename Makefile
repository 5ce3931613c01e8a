# make demo: the paper's Tables 4, 5 and 6 in small.   make test: what to run before a commit.   make test-all: everything.
# Both make .venv themselves, as make install does; PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# A file stays with one process, which trains once what its tests share.
BOTH_CORES := --numprocesses 2 --dist loadfile
# Tests start many processes; without the compiled files each of them compiles all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-all lint unit unit-all end-to-end ray gpu clean

install: $(READY)

demo: $(READY)
	$(BIN)/reskd data make-demo data/demo
	$(BIN)/reskd run sweeps/demo.yaml

# What to run before a commit.
test: lint unit end-to-end

# Everything; what a change must pass before it lands.
test-all: lint unit-all ray

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: $(READY)
	$(BIN)/pytest -m "not ray and not server and not slow" $(BOTH_CORES)

unit-all: $(READY)
	$(BIN)/pytest -m "not ray and not server" --hypothesis-profile full $(BOTH_CORES)

end-to-end: $(READY)
	$(BIN)/pytest -m end_to_end

# One process: two Rays on a host at a time are not to be trusted.
ray: $(READY)
	$(BIN)/pytest -m "ray or server"

# What has to be seen on a GPU, into docs/gpu/; cut short, it goes on when called again.
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
