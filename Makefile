# Development commands.

PYTHON = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run demo test thorough coverage mutants record crash check format docs bench profile constraints environment

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the service
	@./start.sh

demo: ## run an example workflow on a temporary database
	@./start.sh demo

test: ## run the tests; ARGS="tests/unit -n 0" is passed to pytest
	@./test.sh $(ARGS)

thorough: ## run the tests with more generated examples and more random kills
	@TEST_EXAMPLES_FACTOR=1 CRASH_ROUNDS=20 ./test.sh $(ARGS)

coverage: environment ## measure the branch coverage of engine/ and flows/ by all tests
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run -m pytest -n 3 --dist loadfile $(ARGS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

record: environment ## store which lines each test reaches, for `make mutants` (half an hour)
	$(PYTHON) -m scripts.mutants record -- $(ARGS)

mutants: environment ## try SAMPLE random mutants of the packages, chosen by SEED; needs a recording
	$(PYTHON) -m scripts.mutants run --seed $(or $(SEED),1) --sample $(or $(SAMPLE),100) $(ARGS)

crash: ## kill the service 50 times at random and at every named point (ten minutes)
	@CRASH_ROUNDS=50 ./test.sh -m crash $(ARGS)
	@./test.sh --setup services tests/crash

check: environment ## run the linter, the format check, the type checker and the import contracts
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m pyright --pythonpath $(PYTHON)
	.venv/bin/lint-imports --no-logo

format: environment ## format the code and apply lint fixes
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

docs: environment ## update the tables of the documentation that come from the code
	$(PYTHON) -m scripts.generate_docs

bench: environment ## compare the service with DBOS and Prefect (less than ten minutes)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -r requirements-bench.txt
	$(PYTHON) -m bench --json bench/results.json --plot docs/explanation/performance.png

profile: environment ## measure the processor time of one execution by thread and layer
	$(PYTHON) -m bench.floor
	$(PYTHON) -m bench.profile_execution

constraints: ## update constraints.txt after a change of requirements*.txt (needs uv)
	@grep -hv '^-' requirements.txt requirements-dev.txt \
		| uv pip compile - --universal --python-version 3.11 --no-header --no-annotate --quiet > .constraints
	@{ sed -n '/^#/p' constraints.txt; cat .constraints; } > .constraints.new
	@mv .constraints.new constraints.txt && rm .constraints

environment:
	@requirements=requirements-dev.txt && . ./scripts/venv.sh
