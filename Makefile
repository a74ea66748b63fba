# All dependencies are installed into .venv. Nothing outside this folder is changed.
PYTHON ?= python3
BIN := .venv/bin
PAGE := graph/graphiql

.PHONY: run graphiql test coverage test-fast test-long test-clients test-follow stage install check format schema docs lock conformance fuzz fuzz-postgres audit-deps clean
.PHONY: bench bench-docs bench-scale bench-bulk bench-feed bench-telemetry bench-exchange

# The API is served while GraphiQL's page is being built.
run: install
	@$(MAKE) --no-print-directory graphiql & $(BIN)/roster serve

# GraphiQL's page. Node is one of the wheels that `install` installs.
graphiql: install $(PAGE)/dist/index.html

$(PAGE)/dist/index.html: $(wildcard $(PAGE)/*.js $(PAGE)/*.css $(PAGE)/*.json $(PAGE)/*.py $(PAGE)/index.html)
	@echo "Building GraphiQL, which takes about 20 seconds." >&2
	@$(BIN)/python $(PAGE)/build.py

test: install graphiql
	$(BIN)/pytest -n auto --dist worksteal

# The tests, with the coverage of lines and branches. Not a part of `test`: tracing doubles the CPU time, and Python 3.11
# can hang in it. A traced function does not begin if a pending call of the interpreter runs it while another call is
# pending, as when two threads with greenlets end.
coverage: install graphiql
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered

# The tests that start no server processes and no other programs: those of databases use SQLite.
# They draw a fifth of the random examples.
test-fast: install graphiql
	$(BIN)/pytest -n auto --dist worksteal --hypothesis-profile fast -m "not system and not clients and not stage and not postgresql"

# Benchmarks in a small configuration, and tests with more data or more rounds than those of `test`.
test-long: install graphiql
	$(BIN)/pytest -n auto --dist worksteal -m long

# GraphQL clients and tools of frontend teams, and gateways, in the versions of the package-lock.json of
# tests/clients and of tests/federation.
test-clients: install
	$(BIN)/pytest -n auto -m clients

# Faults of production, with PostgreSQL clusters, poolers and proxies that it installs: Debian packages, and
# PyPI packages in .venv-stage. STAGE="-k failover" runs a part. Prints the figures at its end.
stage: install
	@PYTHON=$(PYTHON) tests/stage/install.sh
	$(BIN)/pytest -m stage -o faulthandler_timeout=600 $(STAGE)

# Each client of the example in docs/examples/live-list, with 200 lost connections instead of 20. Takes some
# minutes, and prints what each received. FOLLOW_SEED=2 draws others.
test-follow: install
	FOLLOW_RECONNECTS=200 $(BIN)/pytest -n 2 -rP -q tests/clients/test_follow.py -k reconnects

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Roster needs Python 3.11 or newer")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "This Python has no pip to set up with: install python3-venv." >&2; exit 1; }
	@echo "Setting up .venv, which takes about a minute." >&2
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

schema: install
	$(BIN)/roster schema > .schema.graphql
	mv .schema.graphql schema.graphql

# The table of settings in docs/operations.md.
docs: install
	$(BIN)/roster settings > .settings.md
	sed -i -e '/^<!-- settings -->$$/,/^<!-- end of settings -->$$/{//!d}' -e '/^<!-- settings -->$$/r .settings.md' docs/operations.md
	rm .settings.md
	$(BIN)/roster events --schema > .schema.json
	mv .schema.json docs/schemas/user-event.json
	$(BIN)/roster events --schema --format cloudevents > .schema.json
	mv .schema.json docs/schemas/user-event-cloudevent.json

# Sends 10,000 malformed or hostile requests to a server that it starts.
fuzz: install
	$(BIN)/python -m tests.fuzz $(FUZZ)

# Downloads graphql-core's executor tests and runs them with the compiler.
conformance: install
	$(BIN)/python -m tests.graph.compiler.upstream

# Like `fuzz`, with two workers on PostgreSQL.
fuzz-postgres: install
	$(BIN)/python -m tests.fuzz --postgres --workers 2 $(FUZZ)

# Compares Roster with other servers, in ten minutes. BENCH="--only roster,floor,user --seconds 1" runs
# a part. BENCH="--against ../before --rounds 5" compares with another checkout, which has its own .venv.
bench: install
	$(BIN)/python -m benchmarks.performance $(BENCH)

# Updates the figures and the chart of docs/performance.md from the output of
# `make bench BENCH="--json FILE"`.
bench-docs: install
	$(BIN)/python -m benchmarks.publish $(RESULTS)

# Measures directories of 10 k, 100 k and 1 M users on PostgreSQL. Takes some minutes.
bench-scale: install
	$(BIN)/python -m benchmarks.scale

# Compares the write rate of batches with that of single mutations.
bench-bulk: install
	$(BIN)/python -m benchmarks.bulk

# Imports and exports one million users. Takes about 20 minutes.
bench-exchange: install
	$(BIN)/python -m benchmarks.exchange

# Measures subscriptions: latency, memory, and the write rate while subscribers are connected.
bench-feed: install
	$(BIN)/python -m benchmarks.feed

# Compares servers with and without metrics, traces and JSON logs. BENCH="--only user --rounds 9" runs
# a part.
bench-telemetry: install
	$(BIN)/python -m benchmarks.telemetry $(BENCH)

# Updates all pins, for every Python version and platform, with hashes and without index URLs.
lock: install
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra otel --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file requirements.lock
	$(BIN)/uv pip compile tests/stage/requirements.in --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file tests/stage/requirements.lock

# Reports known vulnerabilities in the pinned packages. pip-audit is installed into its own environment
# and is not pinned: it depends on two dozen packages that nothing else needs.
audit-deps:
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv --clear .venv-audit && \
	  .venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit; } || \
	  { echo "pip-audit cannot be installed: is the package index reachable?" >&2; exit 1; }
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock || \
	  { echo "Not all is known to be sound: see above. Where it says 'not found on PyPI', or cannot connect," >&2; \
	    echo "the advisories cannot be had from here, and nothing was checked." >&2; exit 1; }

clean:
	rm -rf .venv .venv-audit .venv-stage $(PAGE)/dist $(PAGE)/.dist-* $(PAGE)/node_modules tests/audit/node_modules tests/clients/node_modules tests/federation/node_modules .ariadne-codegen benchmarks/peers/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
