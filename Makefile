# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# tests start hundreds of processes: where byte code is not kept, each of them compiles for seconds all that it imports
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-slow test-deploy test-monitoring coverage lint soak fuzz chaos bench docs dashboards lock secrets clean help
help:
	@echo "make demo [ARGS=--json]   place one call through a whole fleet on this machine"
	@echo "make test                 lint, types and all tests but the slow ones"
	@echo "make test-slow            tests that take long: of whole fleets, of every provider, of every example"
	@echo "make coverage             which lines the unit and contract tests reach"
	@echo "make test-deploy          images and docker-compose.yml in a real engine, under calls; SETUP_ENGINE=1 installs one for it"
	@echo "make soak [ARGS=--json]   200 calls that end in every possible way"
	@echo "make fuzz [ARGS=--json]   100,000 hostile messages, and what they did"
	@echo "make chaos [ARGS=--quick]  processes killed and frozen under calls, and what their callers noticed"
	@echo "make bench [ARGS=--quick]  how many calls one core carries, beside the guide's application and a bare echo"
	@echo "make test-monitoring      a real Prometheus watches a fleet that has a bad day: every panel moves, every alert fires"
	@echo "make docs                 write the documents that are made from the code"
	@echo "make dashboards           write Grafana's dashboards and Prometheus' rules, which are made from the catalogue"
	@echo "make secrets              what docker-compose.yml reads below secrets/"
	@echo "make lock                 pin requirements again after a change of pyproject.toml"

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv # the lock pins it too, with its hash
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml
lock:
	$(COMPILE) --universal --python-version 3.11 --extra dev -o requirements.lock
	$(COMPILE) --python-version 3.13 --python-platform linux --extra gateway --extra traces -o deploy/docker/gateway.lock
	$(COMPILE) --python-version 3.13 --python-platform linux --extra worker --extra traces -o deploy/docker/worker.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.13 --python-platform linux --group build -o deploy/docker/build.lock

demo: $(VENV)/.ready
	@$(BIN)/sfvopi demo $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Most tests wait more than they work, so they run side by side, whole fleets by twos. Recognising speech needs
# the machine for itself. Many tests have deadlines, as calls have: what fails is asked once more, alone. Whoever
# fails twice has failed.
AGAIN := || $(BIN)/pytest --last-failed --last-failed-no-failures none
SMALL := -m "not slow" tests/contract tests/unit
SLOW_SMALL := -m slow tests/unit
SLOW_FLEETS := -m slow tests/fleet
FLEETS := -m "fleet and not speech and not slow" tests/fleet
SPEECH := -m "not slow and (speech or not fleet)" tests/fleet tests/speech
test: lint
	$(BIN)/pytest -n 5 --dist loadgroup $(SMALL) $(AGAIN) $(SMALL)
	$(BIN)/pytest -n 2 $(FLEETS) $(AGAIN) $(FLEETS)
	$(BIN)/pytest $(SPEECH) $(AGAIN) $(SPEECH)

test-slow: $(VENV)/.ready
	$(BIN)/pytest -n 4 --dist loadgroup $(SLOW_SMALL) $(AGAIN) $(SLOW_SMALL)
	$(BIN)/pytest $(SLOW_FLEETS) $(AGAIN) $(SLOW_FLEETS)

# half as long again as without
coverage: $(VENV)/.ready
	$(BIN)/pytest -n 4 --dist loadgroup --cov --cov-report=term:skip-covered --cov-fail-under=85 $(SMALL)

test-deploy: $(VENV)/.ready
	$(BIN)/python -m tests.deploy $(ARGS)

soak: $(VENV)/.ready
	$(BIN)/python -m tests.fleet.soak $(ARGS)

fuzz: $(VENV)/.ready
	$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(VENV)/.ready
	$(BIN)/python -m tests.chaos $(ARGS)

bench: $(VENV)/.ready
	@$(BIN)/python -m tests.bench $(ARGS)

test-monitoring: $(VENV)/.ready
	@$(BIN)/python -m tests.monitoring $(ARGS)

docs: $(VENV)/.ready
	$(BIN)/sfvopi settings --markdown > docs/settings.md
	$(BIN)/sfvopi metrics --markdown > docs/metrics.md
	$(BIN)/sfvopi doctor --markdown > docs/symptoms.md

dashboards: $(VENV)/.ready
	$(BIN)/python -m deploy.monitoring $(ARGS)

secrets:
	sh deploy/docker/secrets.sh

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
