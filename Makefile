# Each target makes .venv and installs what it needs first. On a fresh machine: Python 3.11 or later, git and make.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

.PHONY: repro app test browser-test lint clean

repro: .venv/installed  ## run the pipeline of the profile in params.yaml, then print a summary
	dvc repro
	python -m catalog.database.summary

app: .venv/installed  ## show the catalog; built from the results in git if it is absent, without running or downloading a model
	test -f catalog.duckdb || dvc repro -s catalog
	streamlit run app.py

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
