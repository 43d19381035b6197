# make report   the whole pipeline on the virtual cohort, and the page to open
# make test     the notebooks' own tests, then tests/
# Needs Python 3.11–3.13 with venv, make, git and a package index. Everything is installed into .venv.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
NOTEBOOKS := $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
STUDY ?= phantom
CORES ?= 2
FLAGS ?=
export XDG_CACHE_HOME := $(CURDIR)/.venv/cache
export MPLCONFIGDIR := $(CURDIR)/.venv/cache/matplotlib
export IPYTHONDIR := $(CURDIR)/.venv/cache/ipython
export KERAS_HOME := $(CURDIR)/.venv/cache/keras
export JUPYTER_RUNTIME_DIR := $(CURDIR)/.venv/cache/jupyter/runtime
export JUPYTER_DATA_DIR := $(CURDIR)/.venv/cache/jupyter/data
export JUPYTER_CONFIG_DIR := $(CURDIR)/.venv/cache/jupyter
export TF_CPP_MIN_LOG_LEVEL := 2
# glibc is told to keep TensorFlow's memory instead of giving it back at every step
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_ := 268435456

.PHONY: report weights test install export readme lab bench lock clean
report: .stamps/export
	$(BIN)/calcnb run --study $(STUDY) --cores $(CORES)

test: .stamps/export
	$(BIN)/calcnb run --study small --cores $(CORES)
	$(if $(findstring slow,$(FLAGS)),$(BIN)/calcnb run --study small-film --cores $(CORES))
	MPLBACKEND=agg $(BIN)/nbdev-test --n-workers $(CORES) --timing --flags "$(FLAGS)"
	$(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --durations=12 tests $(if $(findstring slow,$(FLAGS)),,-m "not slow")

install: .stamps/install
# pyproject.toml is left out: nbdev-export writes it anew each time
.stamps/install: requirements.lock settings.ini setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall-package calcnb -e .
	mkdir -p .stamps .venv/cache/ipython && touch $@

export: .stamps/export
.stamps/export: .stamps/install $(NOTEBOOKS)
	$(BIN)/nbdev-export
	mkdir -p .stamps .venv/cache/ipython && touch $@

readme: .stamps/export
	$(BIN)/jupyter nbconvert --log-level=ERROR --to markdown --execute --output-dir . --output README nbs/index.ipynb

# the net that comes with the package, taught anew on drawn images: about half an hour on two cores
weights: .stamps/export
	$(BIN)/calcnb run --study weights --cores $(CORES)

lab: .stamps/export
	$(BIN)/jupyter lab nbs

bench: .stamps/export
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

lock: .stamps/install
	$(BIN)/uv pip compile --no-cache --quiet --universal --python-version 3.11 --extra dev --no-header --output-file requirements.lock setup.py

# what was made here, never what was brought: of data/raw only the virtual cohorts go, known by their cohort.json
clean:
	rm -rf .venv .stamps .snakemake build *.egg-info .pytest_cache .hypothesis data/work $(patsubst %/cohort.json,%,$(wildcard data/raw/*/cohort.json))
	find reports -mindepth 1 -not -name README.md -delete
	find calcnb tests nbs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
