# Everything a contributor runs. `make` alone lists it.
#
# Needs python3 (3.11 or newer) with venv, make and git; the rest is installed into .venv from the
# locks in requirements/, hash by hash: what the program needs for the demo, all of it for the tests.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Nothing is compiled when it is installed, so what is imported must be allowed to be, once.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME_STAMP := $(VENV)/.runtime.txt
DEV_STAMP := $(VENV)/.dev.txt
SOURCES := $(wildcard step tests benchmarks docs examples requirements)
SCRIPTS := requirements/install .ci/run .ci/locks .ci/base .ci/pin-action .ci/publish-action $(wildcard examples/*/*.sh tests/vectors/*.sh)
# A worker that dies ends the run; xdist would go on without what it had to do.
AT_ONCE := --numprocesses=auto --dist=worksteal --max-worker-restart=0
# Branch coverage, which takes as long again: make test COVERAGE=--cov
COVERAGE ?=
# Passed to pytest, for example: make test ARGS='-k payload'
ARGS ?=
# Passed to the benchmark, for example: make bench BENCH='--python python3.13 --rounds 31'
BENCH ?=
# Passed to the lock, for example: make lock LOCK='--upgrade-package rich'
LOCK ?=
IMAGE ?= localhost/binauthz-attest:dev
# Where the image's sources are, for its label, for example: make image SOURCE=https://github.com/OWNER/binauthz-attest
SOURCE =
# What builds the image; left empty, the first of docker, podman and buildah that answers.
ENGINE =
# The image's two bases, by another name or digest; left empty, those of the Dockerfile.
BUILDER =
RUNTIME =
# Passed to the build. Podman and buildah can lend it the machine's own settings, for example:
#   make image IMAGE_ARGS='--network host --volume /etc/pip.conf:/etc/pip.conf:ro'
IMAGE_ARGS =

# No index, no link and no path gets into a lock: it holds on any machine, whatever serves its packages.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --custom-compile-command 'make lock' $(LOCK)

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(DEV_STAMP) ## make .venv from the lock; done again only when the lock changes

$(RUNTIME_STAMP): requirements/runtime.txt
	@requirements/install runtime $(VENV) "$(PYTHON)"

$(DEV_STAMP): requirements/dev.txt $(RUNTIME_STAMP)
	@requirements/install dev $(VENV) "$(PYTHON)"

.PHONY: demo
demo: $(RUNTIME_STAMP) ## attest an image against the emulator, on this machine
	@$(BIN)/python examples/demo/run.py
	@requirements/install program $(VENV) "$(PYTHON)"

.PHONY: test
test: env ## run every test but those of the image
	@echo 'make: starting the tests'
	@$(BIN)/python -m pytest $(AT_ONCE) -m 'not image' $(COVERAGE) $(ARGS)

# By file: what the tests of one share, a container for example, each worker would make for itself.
.PHONY: container
container: env ## build the image and run its tests; needs root and buildah
	@$(BIN)/python -m pytest $(AT_ONCE) --dist=loadfile -m image $(ARGS)

.PHONY: unit
unit: env ## run the tests that need no tool of the system, in a minute
	@$(BIN)/python -m pytest $(AT_ONCE) --hypothesis-profile=quick -m 'not tool' --ignore=tests/real $(ARGS)

.PHONY: lint
lint: env ## style, types, import directions
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: check
check: env ## Dockerfile, action, pipelines and examples, shell scripts
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(wildcard .github/workflows/*.yml examples/github/*.yml)
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.cloudbuild cloudbuild.yaml $(wildcard examples/cloudbuild/*.yaml)
	@$(BIN)/check-jsonschema --builtin-schema vendor.circle-ci $(wildcard examples/circleci/*.yml)
	@$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci $(wildcard examples/gitlab/*.yml)
	@$(BIN)/zizmor --offline --quiet --color=never --persona=pedantic action.yml .github $(wildcard examples/github/*.yml)
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); \
	else echo 'make check: shellcheck is missing; on Debian: apt install shellcheck' >&2; exit 1; fi

.PHONY: bench
bench: env ## measure what a run costs, beside gcloud, and write docs/performance.md
	@$(BIN)/python -m benchmarks.bench --image '$(IMAGE)' $(BENCH)

.PHONY: lock
lock: env ## make the locks again from pyproject.toml
	@$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	@$(COMPILE) --output-file requirements/build.txt --group build
	@$(COMPILE) --output-file requirements/dev.txt --constraints requirements/runtime.txt --group dev pyproject.toml

.PHONY: locks
locks: ## install both locks with every Python here, and with the oldest and the newest pip
	@.ci/locks

.PHONY: vectors
vectors: env ## make the test vectors again with gcloud, openssl and gpg
	@$(BIN)/python tests/vectors/make_payloads.py
	@$(BIN)/python tests/vectors/make_keys.py

.PHONY: image
image: ## build the container image with docker, podman or buildah
	@for engine in $(or $(ENGINE),docker podman buildah); do \
	  "$$engine" info >/dev/null 2>&1 && break; engine=; done; \
	if [ -z "$$engine" ]; then \
	  echo 'make image: none of these answers: $(or $(ENGINE),docker podman buildah); on Debian: apt install buildah' >&2; exit 1; fi; \
	"$$engine" build --tag '$(IMAGE)' \
	  $(if $(BUILDER),--build-arg 'BUILDER=$(BUILDER)') $(if $(RUNTIME),--build-arg 'RUNTIME=$(RUNTIME)') \
	  --build-arg 'SOURCE=$(SOURCE)' \
	  --build-arg "VERSION=$$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' step/__init__.py)" \
	  --build-arg "REVISION=$$(git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null)" \
	  $(IMAGE_ARGS) .

.PHONY: clean
clean: ## remove everything that was made
	@rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	@find step tests examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
