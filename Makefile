# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3.11
# Processes that run the tests, one thread each.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

# What `make test-versions` runs: seconds to minutes, no command line, no reports.
QUICK := tests/core tests/purifiers tests/defenses tests/attacks tests/models tests/training/test_purifier_trainer.py \
	tests/training/test_losses.py tests/training/test_optim.py

.PHONY: demo test test-slow test-browser test-versions docs release audit lint notebooks bench bench-full clean

demo: $(VENV)/.demo
	$(BIN)/nrpurify demo

test: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-fail-under=98

test-slow: $(VENV)/.dev
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m slow

# The service's page in Debian's Chromium, with axe-core for accessibility. Needs npm.
test-browser: $(VENV)/.browser
	@command -v chromium google-chrome >/dev/null || { echo "no chromium here; apt-get install chromium"; exit 1; }
	$(BIN)/pytest tests/browser -m browser

$(VENV)/.browser: pyproject.toml | $(VENV)/.dev
	$(BIN)/pip install --group browser
	npm install --no-audit --no-fund --no-save --prefix $(VENV)/axe axe-core@4.14.1
	touch $@

test-versions: .venv-oldest/.dev .venv-newest/.dev
	.venv-oldest/bin/pytest -n $(WORKERS) --dist worksteal $(QUICK)
	.venv-newest/bin/pytest -n $(WORKERS) --dist worksteal $(QUICK)

.venv-oldest/.dev: pyproject.toml
	python3.12 -m venv .venv-oldest
	.venv-oldest/bin/pip install --upgrade pip
	.venv-oldest/bin/pip install torch==2.6.0 torchvision==0.21.0 numpy==2.0.0 -e '.[all]' --group dev
	touch $@

.venv-newest/.dev: pyproject.toml
	python3.13 -m venv .venv-newest
	.venv-newest/bin/pip install --upgrade pip
	.venv-newest/bin/pip install -e '.[all]' --group dev
	touch $@

# Runs the notebooks on 20 small photographs: one minute on two idle cores. The results are in out/notebooks.
notebooks: $(VENV)/.dev
	$(BIN)/pip install --group notebooks
	mkdir -p out/notebooks
	$(BIN)/jupyter nbconvert --to notebook --execute --output-dir out/notebooks notebooks/*.ipynb

# Timings for docs/performance.md, on an idle machine.
BENCHES := attacks ssp speed training startup export
bench: $(VENV)/.dev
	for name in $(BENCHES); do $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/python tools/pages.py
	$(BIN)/python tools/plots.py

bench-full: $(VENV)/.dev
	for name in $(BENCHES); do $(BIN)/python benchmarks/$$name.py --full --repeats 5 || exit 1; done
	$(BIN)/python tools/pages.py
	$(BIN)/python tools/plots.py

# The site, in site/. Links and anchors that lead nowhere are errors.
docs: .venv-docs/.done
	.venv-docs/bin/zensical build --strict --clean

.venv-docs/.done: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --upgrade pip
	.venv-docs/bin/pip install --group docs
	touch $@

# Wheel and sdist in dist/, checked and tried in an empty environment. Uploads nothing.
release:
	PYTHON=$(PYTHON) tools/release.sh

# A bill of materials (dist/sbom.json) of an environment with all extras, and its known vulnerabilities. What could
# not be checked, as without a network, is named and fails.
audit: $(VENV)/.dev .venv-audit/.done
	$(PYTHON) tools/audit.py $(VENV) .venv-audit

.venv-audit/.done:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install 'pip-audit>=2.8' 'cyclonedx-bom>=6'
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/mypy

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install -e '.[all]' --group dev --group oracles
	$(BIN)/pip install --no-deps torchattacks==3.5.1
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-docs .venv-release .venv-audit out site dist
