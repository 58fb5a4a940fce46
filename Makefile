# One way in for people; CI runs the same targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements.lock

.PHONY: help install demo test check bench bench-inference rollouts soak faults mutants schema lock clean

help:
	@echo "make demo     a local Azure, the controller and a served model, in one command"
	@echo "make test     the test suite"
	@echo "make check    format, lint, types, architecture, generated files"
	@echo "make bench    10, 100 and 1,000 apps: how reads, writes, CPU and memory grow; a saved file to its answer"
	@echo "make bench-inference  the served app beside one thread and generate per request: eight minutes on two quiet cores"
	@echo "make rollouts 200 requests a second through every strategy, with releases good and bad"
	@echo "make soak     144 commits, one after the other, to a running daemon: memory and descriptors stay flat"
	@echo "make faults   every call of every scenario broken in every way: half an hour on two cores"
	@echo "make mutants  bugs sown on purpose: the campaign of faults must see each"
	@echo "make schema   generate desired_state/schema.json and its README again"
	@echo "make lock     pin the newest versions that fit pyproject.toml"

$(STAMP): pyproject.toml $(LOCK)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(LOCK) --editable '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/acaops demo desired_state

# The pure rooms must be covered to the last branch; the rest is tested through the real SDK and real processes.
PURE := controller.plan controller.health controller.diagnosis controller.causes controller.model controller.status.summarize controller.status.events controller.status.notices
COVERAGE := $(addprefix --cov=,$(PURE)) --cov-branch --cov-report=term:skip-covered --cov-fail-under=100

test: $(STAMP)
	$(BIN)/python -m pytest tests/unit $(COVERAGE)
	$(BIN)/python -m pytest tests --ignore=tests/unit --numprocesses auto --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/acaops validate desired_state

bench: $(STAMP)
	$(BIN)/python -m tests.bench.saved
	$(BIN)/python -m tests.bench.many

bench-inference: $(STAMP)
	$(BIN)/python -m tests.bench.inference

rollouts: $(STAMP)
	$(BIN)/python -m tests.bench.rollouts

soak: $(STAMP)
	$(BIN)/python -m tests.bench.commits

faults: $(STAMP)
	$(BIN)/python -m tests.faults.campaign

mutants: $(STAMP)
	$(BIN)/python -m tests.faults.mutants

schema: $(STAMP)
	$(BIN)/python -m controller.reference

# Constraints, not requirements: every package of the environment by exact version, but for acaops itself.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check > $(LOCK)

clean:
	rm -rf $(VENV) build *.egg-info
