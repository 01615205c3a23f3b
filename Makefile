# Each target makes .venv and installs what it needs first. On a fresh machine: Python 3.11 or later, git and make.

PYTHON ?= python3
SYSTEM ?=
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# DVC judges whether the database is up to date, by the reports and by catalog.json, which says what it holds; a second if it is.
# A database that was deleted is built again.
CATALOG = test -f catalog.duckdb || rm -f catalog.json; dvc repro -s catalog

.PHONY: repro app database test browser-test lint clean dvc

repro: dvc  ## run the pipeline of the profile in params.yaml, or one system: make repro SYSTEM=harmonic; then print a summary
	python -m catalog.database.estimate $(SYSTEM)
	dvc repro $(SYSTEM)
	@$(CATALOG)
	python -m catalog.database.summary

app: dvc  ## show the catalog, with the database of the reports that are there; no model is run or downloaded
	@$(CATALOG)
	streamlit run app.py

database: dvc  ## build catalog.duckdb from the reports that are there, if it is not up to date
	@$(CATALOG)

test: .venv/installed  ## unit tests: no network, no GPU, no browser
	python -m pytest -q

browser-test: .venv/browser  ## the app in a real headless Chromium
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { echo "There is no Chromium; install one (for instance: apt-get install chromium) and run this again." >&2; exit 1; }
	python -m pytest -q tests_browser

lint: .venv/installed
	ruff check . && ruff format --check .

clean:  ## remove the environment; results and the DVC cache stay
	rm -rf .venv

# In a copy without git (a ZIP download) DVC works once it is told so.
dvc: .venv/installed
	@test -e .git || dvc config --local core.no_scm true

# torch alone first: with the rest, pip may choose another build of it.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time takes some minutes."
	python -m pip install --quiet --disable-pip-version-check $(shell grep '^torch==' constraints.txt)
	python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[app,test]'
	@touch $@

.venv/browser: .venv/installed
	python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	@touch $@
