# Everything a contributor runs. `make` alone lists it.
#
# Needs python3 (3.11 or newer) with venv, make and git; the rest is installed into .venv from
# requirements/dev.txt, hash by hash.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
SOURCES := $(wildcard step tests benchmarks examples requirements)
SCRIPTS := .ci/run .ci/base .ci/pin-action .ci/publish-action $(wildcard examples/*/*.sh tests/vectors/*.sh)
# Passed to pytest, for example: make test ARGS='-k payload'
ARGS ?=
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

# The first of these that runs and is new enough; a version manager's shim may exist and not run.
CHOOSE_PYTHON = for python in "$(PYTHON)" python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done

# Errors only: a mirror's warnings are its owner's affair.
INSTALL = $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

# No index, no link and no path gets into a lock: it holds on any machine, whatever serves its packages.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(LOCK)

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(STAMP) ## make .venv from the lock; done again only when the lock changes

# The stamp is a copy of the lock, so that only its content counts, not when it was written.
$(STAMP): requirements/dev.txt
	@if cmp --silent $< $@; then touch $@; exit; fi; \
	$(CHOOSE_PYTHON); \
	if [ -z "$$python" ]; then \
	  echo 'make env: python3 is missing or older than 3.11; on Debian: apt install python3 python3-venv, or set PYTHON=' >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "make env: $$python has no venv or ensurepip; on Debian: apt install python3-venv" >&2; exit 1; fi; \
	echo "make env: $$("$$python" --version) into $(VENV)"; \
	"$$python" -m venv --clear $(VENV); \
	$(INSTALL) --require-hashes --requirement $<; \
	$(INSTALL) --no-deps --no-build-isolation --editable .; \
	cp $< $@

.PHONY: demo
demo: env ## attest an image against the emulator, on this machine
	@$(BIN)/python examples/demo/run.py

.PHONY: test
test: env ## run every test, with branch coverage
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --cov --cov-report=term $(ARGS)

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
bench: env ## measure, as ratios
	@$(BIN)/python benchmarks/attest.py

.PHONY: lock
lock: env ## make the locks again from pyproject.toml
	@$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	@$(COMPILE) --output-file requirements/build.txt --group build
	@$(COMPILE) --output-file requirements/dev.txt --constraints requirements/runtime.txt --group dev pyproject.toml

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
