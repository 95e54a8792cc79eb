# Everything happens in the project's own .venv; nothing is installed system-wide.
# The first that runs; a shim of a version manager may be there without its Python.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
UV := .venv/bin/uv
RUN := .venv/bin
JOBS ?= 2
# A file's tests run in one process, since they share what its fixtures made. As they are ordered, files of few but long
# tests would all come last, and one process would wait for the other.
PYTEST = $(RUN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=10
comma := ,

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all test-cluster check format wheel bench bench-gpu soak study clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## Install everything into .venv, from uv.lock

# uv itself: taken from the PATH's Python into .venv, where it then installs the locked versions beside itself.
.venv/bin/uv:
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

# Bytecode now: where Python may not write it later (PYTHONDONTWRITEBYTECODE), every start would compile torch anew, 10 s.
.venv/.installed: .venv/bin/uv uv.lock pyproject.toml
	$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

demo: install  ## Run the main job on generated videos: shards, pretraining, fine-tuning, report (about 5 minutes)
	$(RUN)/videomae demo $(DEMO)

test: install  ## Run the quick tests, JOBS=2 at a time
	$(PYTEST) -m "not slow"

test-slow: install  ## Run the slow tests; those that compare speeds by themselves
	$(PYTEST) -m "slow and not alone"
	$(RUN)/pytest -m alone

test-all: test test-slow  ## Run all tests

test-cluster: install  ## Run the tests on a real two-node Slurm, started on loopback and stopped again
	$(RUN)/python tests/cluster/slurm_daemons.py $(if $(VIDEOMAE_CLUSTER_INSTALL),--install)
	VIDEOMAE_TEST_CLUSTER=1 $(RUN)/pytest tests/cluster

check: install  ## Lint, format check, types, and uv.lock in step with pyproject.toml
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/pyright
	$(UV) lock --check --quiet

format: install  ## Format and fix what can be fixed
	$(RUN)/ruff check --fix
	$(RUN)/ruff format

wheel: install  ## Build the wheel into dist/
	rm -rf dist
	$(UV) build --wheel --quiet
	@ls dist/*.whl

bench: install  ## Measure the training step and how it scales (5 minutes on two cores); DATA=VIDEOS their loading, SET=SHARDS a run
	$(RUN)/videomae bench step $(or $(STEP),--size small --batch 4 --precision fp32$(comma)bf16 --rounds 5)
	$(RUN)/videomae bench scaling
	$(if $(DATA),$(RUN)/videomae bench loader $(DATA))
	$(if $(SET),$(RUN)/videomae bench run experiment=pretrain_tiny data.path=$(SET))

# Without `install`: the machine with the GPU may have torch and timm and nothing else.
bench-gpu:  ## Measure the training step on a GPU: ViT-B, fp32 and bf16, eager and compiled, into bench-gpu.json
	$(or $(wildcard $(RUN)/python),$(PYTHON)) -m videomae_train.benchmarks.step \
	  --device cuda --size base --batch 32 --compile --json bench-gpu.json $(STEP)

soak: install  ## Kill packing, training and saves at random moments and compare with what was left alone (about 40 minutes)
	$(RUN)/python scripts/soak_pack.py --kills 20 --videos 120
	$(RUN)/python scripts/soak_decode.py --decodes 10000
	$(RUN)/python scripts/soak_train.py --runs 20 --saves 100
	$(RUN)/python scripts/soak_train.py --verb finetune --runs 20 --saves 0

study: install  ## Sweep masks on DATA (and generated motions) with a BUDGET: smoke, small, fair or long; docs/sweeps.md
	$(RUN)/python scripts/study.py --budget $(or $(BUDGET),smoke) $(if $(DATA),--data $(DATA)) $(if $(SPLITS),--splits $(SPLITS)) $(STUDY)

clean:  ## Remove what was built, run or installed here
	rm -rf .venv dist build demo .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
