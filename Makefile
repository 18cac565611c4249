# Everything is set up by the targets that need it: `make run` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run demo demo-images test test-slow soak bench constraints clean
BIN := .venv/bin

help:
	@echo "make run          install into .venv, the demo, then its releases served: the last line is the address"
	@echo "make demo         the demo alone"
	@echo "make demo-images  the same on simulated radiographs (installs the extra imaging)"
	@echo "make test         lint, types, layers, then every test that takes seconds"
	@echo "make test-slow    the tests that take minutes"
	@echo "make soak         kills, fuzzing and load, many times over"
	@echo "make bench        our times beside the peers', from one run"
	@echo "make constraints  write the installed versions to constraints.txt"
	@echo "make clean        remove .venv and what tools wrote (workspaces and keys are kept)"
	@echo "PYTHON=/its/path chooses the Python (3.11 or later); ARGS='-k word' goes to pytest."

run: demo
	$(BIN)/bedside serve

demo:
	@tools/setup run
	$(BIN)/bedside demo

demo-images:
	@tools/setup images
	$(BIN)/bedside demo --images

test:
	@tools/setup test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -m "not slow" $(ARGS)

test-slow:
	@tools/setup test
	$(BIN)/pytest -n 2 -m slow $(ARGS)

soak:
	@tools/setup test
	BEDSIDE_SOAK=1 $(BIN)/pytest -m soak --timeout 0 $(ARGS)

bench:
	@tools/setup test
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

constraints:
	@tools/setup test
	$(BIN)/python tools/constraints.py > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} +
