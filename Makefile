# Everything works on a machine that has Python (3.11 or newer) and make: what else is needed is made here.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
# A start is mostly imports, and tests start many servers: what is compiled once is kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test check bench sweep soak histories lock migration clean

run: .venv/.run ## the main job: an invoice approval, end to end, then the server stays up
	$(BIN)/upstairs demo --stay

test: .venv/.dev ## all tests; sweeps are sampled
	deploy/test-services.sh $(BIN)/python -m pytest -m "not soak" $(ARGS)

sweep: .venv/.dev ## the exhaustive fault sweeps
	deploy/test-services.sh $(BIN)/python -m pytest --sweep=all -m sweep $(ARGS)

soak: .venv/.dev ## long runs under load
	deploy/test-services.sh $(BIN)/python -m pytest -m soak $(ARGS)

histories: .venv/.dev ## record anew what runs of each example write, for later releases to replay
	$(BIN)/python -m tests.histories.record $(ARGS)

check: .venv/.dev ## format, lint, types, import rules, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: .venv/.dev ## every benchmark beside its peer, in one run each
	@deploy/peers.sh --bench || echo "not every peer could be installed: it is left out"
	@for script in floor loop loop_late logic mcp_surface providers_turns stdio_start capacity stream process; do echo "== $$script"; $(BIN)/python benchmarks/$$script.py || exit 1; done

lock: ## resolve the dependencies anew; the files name versions and hashes, and any index may serve them
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv
	$(UV) lock --upgrade --quiet
	$(UV) export --quiet --frozen --no-dev --no-emit-project --no-header --no-annotate --output-file deploy/locks/run.txt
	$(UV) export --quiet --frozen --all-extras --all-groups --no-emit-project --no-header --no-annotate --output-file deploy/locks/dev.txt

migration: .venv/.dev ## write the next revision of the schema from the tables (NAME=what_changes)
	$(BIN)/python deploy/make_migration.py "$(NAME)"

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/.run: deploy/locks/run.txt pyproject.toml | .venv/bin/uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirements deploy/locks/run.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/.dev: deploy/locks/dev.txt pyproject.toml | .venv/bin/uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirements deploy/locks/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@ .venv/.run

clean:
	rm -rf .venv .upstairs
