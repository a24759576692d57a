# `make run` and `make test` work on a fresh machine with Python 3.11 or later and make: each sets up .venv first,
# and again only when requirements.lock or pyproject.toml has changed.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Two processes of one thread each are faster than one of two threads, and more threads than cores are far slower.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_FLAGS ?= --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slurm tables figures report lint format typecheck lock mini-backbones clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(INSTALLED) ## make .venv and install everything at the versions of requirements.lock

$(INSTALLED): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON='$(PYTHON)' sh scripts/setup.sh
	@touch $@

# force: the repository ships the record of this very run, and a person who types this wants to see it happen.
run: setup ## train WeGeFT on the eight commonsense tasks of the mini world, evaluate and record
	$(BIN)/python run.py method=wegeft task=commonsense force=true

test: setup ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

test-slurm: setup ## run the tests that need SLURM, on a cluster of two pretend nodes; installs SLURM (Debian, root)
	@slurm/testbed/test.sh $(BIN)/python

tables: setup ## render every table from results/
	OMP_NUM_THREADS=1 $(BIN)/python -m wegeft.tables

figures: setup ## render every table and draw every figure from results/
	OMP_NUM_THREADS=1 $(BIN)/python -m wegeft.tables --quiet --figures results/figures

report: setup ## write results/report.html: tables, figures, a page per run and per method
	OMP_NUM_THREADS=1 $(BIN)/python -m wegeft.report

lint: setup ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## put the code into the format that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: setup ## check types
	$(BIN)/mypy

# Without the extra `quantised`: wheels of 150 MB that few runs need.
# --universal: one lock for every Python and system. Without find-links the result is the same on every machine.
# The CUDA build of torch pins its own libraries; were they listed, a machine with the CPU build would fetch them.
lock: setup ## resolve pyproject.toml into requirements.lock; LOCK_FLAGS=--upgrade takes the newest versions
	env -u UV_FIND_LINKS $(BIN)/uv pip compile pyproject.toml --extra dev --extra judge --universal --annotation-style line \
		--custom-compile-command 'make lock' --quiet --output-file requirements.lock $(LOCK_FLAGS)
	sed -E '/^(cuda|nvidia|triton)/d' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

mini-backbones: setup ## rebuild the mini backbones that ship with the package
	$(BIN)/python scripts/build_mini_backbones.py

clean: ## remove .venv and the caches of the tools; what runs wrote stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
