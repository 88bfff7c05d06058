SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
PORT ?= 8080
# The machine's own certificates: behind a company's proxy, those that come with uv know nothing of its authority.
export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
LOCK := requirements.lock
CODE := contracts predictor_model scaler tests bench

# Two environments: only what trains gets torch and the gigabytes of CUDA libraries that come with it.
VENV := .venv
TRAIN_VENV := .venv-train
BIN := $(VENV)/bin
TRAIN_BIN := $(TRAIN_VENV)/bin
TRACES ?= ../shared/traces
MODEL_VERSION ?= 0.2.0
CARD := $(BIN)/python -m predictor_model.card --evaluation docs/evaluation.json --calibration docs/calibration.json --experiment docs/experiment.json --page docs/evaluation.md
BENCHMARK := $(BIN)/python -m bench.closed_loop --json docs/closed-loop.json
SCENARIOS := $(BIN)/python -m bench.scenarios --json docs/scenarios.json --page docs/scenarios.md
RECORDED := $(BIN)/python -m bench.recorded --replay docs/recorded.json

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

# A stamp, so that an environment is made anew only when what it is made of changes.
$(VENV)/.stamp: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(LOCK) --compile-bytecode --editable '.[dev]'
	@touch $@

$(TRAIN_VENV)/.stamp: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(TRAIN_VENV)
	$(TRAIN_BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(TRAIN_BIN)/uv pip install --quiet --python $(TRAIN_BIN)/python --constraint $(LOCK) --editable '.[dev,training]'
	@touch $@

.PHONY: install
install: $(VENV)/.stamp ## set up the environment for everything but training

.PHONY: install-train
install-train: $(TRAIN_VENV)/.stamp ## set up the environment with torch (about 5 GB)

.PHONY: demo
demo: install ## replay five days of real load: HPA alone, AI-HPA over it, and an oracle; writes ai-hpa-demo.html
	$(BIN)/ai-hpa demo

.PHONY: serve
serve: install ## run the model server alone on this machine; PORT=8080
	$(BIN)/python -m predictor_model --http_port $(PORT)

.PHONY: test
test: install ## all tests that need neither torch nor a cluster
	$(BIN)/pytest -m "not training and not e2e"

.PHONY: test-training
test-training: install-train ## the tests of network, training and export, which need torch
	$(TRAIN_BIN)/pytest -m training

.PHONY: cov
cov: install ## tests with branch coverage of the packages
	$(BIN)/pytest -m "not training and not e2e" --cov --cov-report=term-missing:skip-covered

.PHONY: contract
contract: install ## clients against the real model server over sockets
	$(BIN)/pytest tests/contract

.PHONY: replay
replay: install ## the simulated cluster and its golden decisions
	$(BIN)/pytest tests/replay

.PHONY: manifests
manifests: install ## the manifests: they parse, agree with the code and, where kubectl and helm are there, with each other
	$(BIN)/pytest tests/manifests

.PHONY: fmt
fmt: install ## format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

.PHONY: lint
lint: install ## style, spelling
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	git ls-files -z | xargs -0 $(BIN)/codespell

.PHONY: types
types: install-train ## mypy, strict; torch's types are needed for it
	$(TRAIN_BIN)/mypy

.PHONY: imports
imports: install-train ## the layers of ARCHITECTURE.md
	$(TRAIN_BIN)/lint-imports

# Pages that the code writes, each with its module.
PAGES := docs/configuration.md:scaler.settings docs/metrics.md:scaler.exposition docs/annotations.md:scaler.targets.annotations \
  docs/cli.md:scaler.cli.reference
generate = $(BIN)/python -m $(word 2,$(subst :, ,$(1)))

.PHONY: docs
docs: install ## renew the generated pages of docs/
	$(foreach page,$(PAGES),$(call generate,$(page)) > $(word 1,$(subst :, ,$(page))) &&) true
	$(CARD)
	$(BENCHMARK)
	$(SCENARIOS) --no-run
	$(RECORDED)

.PHONY: docs-check
docs-check: install ## generated pages are as their sources say
	$(foreach page,$(PAGES),$(call generate,$(page)) | diff $(word 1,$(subst :, ,$(page))) - &&) true
	$(CARD) --check
	$(BENCHMARK) --check
	$(SCENARIOS) --check
	$(RECORDED) --check

.PHONY: golden
golden: install ## renew golden files on purpose; read the diff
	$(BIN)/python -m tests.contract.golden
	$(BIN)/python -m tests.replay.golden

.PHONY: lock
lock: install ## resolve the dependencies anew, for every Python at once
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header --upgrade --quiet -o $(LOCK)

.PHONY: train
train: install-train ## train the weights that ship, from TRACES/train into out/train; half an hour on two cores, resumes
	$(TRAIN_BIN)/python -m predictor_model.train --data $(TRACES)/train --sets shipped --out out/train --model-version $(MODEL_VERSION)

.PHONY: compare
compare: install ## train the boosted trees that docs/evaluation.md compares the shipped weights with, into out/compare
	$(BIN)/python -m predictor_model.boosting --data $(TRACES)/train --sets shipped --out out/compare/lightgbm

.PHONY: experiment
experiment: install-train ## what each choice in the network is worth: train a row for each into out/experiment, write docs/experiment.json
	$(TRAIN_BIN)/python -m predictor_model.experiment --data $(TRACES)/train --sets shipped --csv $(TRACES)/dev --out out/experiment --json docs/experiment.json

.PHONY: evaluation
evaluation: install ## score the shipped weights, and the trees in out/compare, on the traces in TRACES/dev
	$(BIN)/python -m predictor_model.evaluate --csv $(TRACES)/dev --json docs/evaluation.json \
	  $(if $(wildcard out/compare/lightgbm),--boosting out/compare/lightgbm)
	$(BIN)/python -m bench.calibration --csv $(TRACES)/dev --json docs/calibration.json

SEEDS ?= 5
MINUTE_TRACES := $(foreach name,ms_cloud_monitoring nasa_http worldcup98,$(TRACES)/dev/$(name).csv.gz)
CLOSED_LOOP := $(BIN)/python -m bench.closed_loop

.PHONY: closed-loop
closed-loop: install ## every policy over TRACES/dev, into out/closed-loop, then docs/benchmark.md; hours, resumes; SEEDS=5 of the main table
	$(CLOSED_LOOP) --seeds $(SEEDS) --csv $(MINUTE_TRACES) --out out/closed-loop/minute
	$(CLOSED_LOOP) --seeds 1 --csv $(MINUTE_TRACES) --out out/closed-loop/sizes --pods-at-p99 5 100 --start-seconds 90
	$(CLOSED_LOOP) --seeds 1 --csv $(MINUTE_TRACES) --out out/closed-loop/seldom --forecast-period 300 --start-seconds 90
	$(CLOSED_LOOP) --seeds 1 --csv $(TRACES)/dev/nab_cloudwatch.csv.gz --out out/closed-loop/coarse --start-seconds 90
	$(BIN)/python -m bench.closed_loop --from out/closed-loop/* --json docs/closed-loop.json

.PHONY: scenarios
scenarios: install ## crowds, shifts, outages, faults, a changed clock, scale to zero: each with its rows, into docs/scenarios.md; with TRACES/stress where it is
	$(SCENARIOS) $(if $(wildcard $(TRACES)/stress),--stress $(TRACES)/stress)

.PHONY: bench
bench: install-train ## benchmarks, as ratios inside one run
	$(TRAIN_BIN)/python -m bench.serving --json docs/bench-serving.json
	$(TRAIN_BIN)/python -m bench.controller

# Docker, podman or buildah, whichever is there.
BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))
BUILD := $(if $(filter buildah,$(notdir $(BUILDER))),$(BUILDER) bud,$(BUILDER) build)
BASE_IMAGE ?= python:3.11-slim
REPOSITORY ?= ai-hpa
IMAGES ?= model scaler
TORCH_INDEX ?=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: images
images: ## build REPOSITORY/model and REPOSITORY/scaler (IMAGES=train: the trainer) with docker, podman or buildah (BUILDER), from BASE_IMAGE
	@test -n "$(BUILDER)" || { echo "images: none of docker, podman and buildah is in the PATH; install one, or set BUILDER" >&2; exit 1; }
	$(foreach image,$(IMAGES),$(BUILD) --build-arg BASE_IMAGE=$(BASE_IMAGE) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) -f Dockerfile.$(image) -t $(REPOSITORY)/$(image):$(VERSION) . &&) true

# The cluster of the end-to-end tests: that of KUBECONFIG where it is set, else one that LAB brings up and takes down.
LAB ?= ../shared/lab/lab

.PHONY: e2e
e2e: install ## tests on a real cluster: that of KUBECONFIG, else the one that LAB (default ../shared/lab/lab) brings up
	LAB=$(LAB) .ci/e2e

.PHONY: demo-check
demo-check: install ## the demo as a newcomer runs it, in a folder that goes away
	folder=$$(mktemp -d) && cd $$folder && $(CURDIR)/$(BIN)/ai-hpa demo && test -s ai-hpa-demo.html && rm -r $$folder

.PHONY: packaging
packaging: install ## the wheel installs with each extra alone, and carries what it needs
	.ci/packaging

.PHONY: check
check: lint types imports docs-check packaging demo-check test test-training ## everything CI runs

.PHONY: clean
clean: ## remove environments and caches
	rm -rf $(VENV) $(TRAIN_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache out
