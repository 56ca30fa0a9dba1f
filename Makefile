# Needs Python 3.11 or newer (PYTHON=... to choose one), a C compiler and make. Everything else goes into .venv.
#
# .venv holds the wheel as a user would install it (test, demo, lint); .venv-airflow the same with Airflow (test,
# airflow-demo), which needs some 120 packages; .venv-dev an editable install (dev, bench).
# Stamp files under both make a second run quick.

SHELL := /bin/sh
VENV ?= .venv
DEV_VENV ?= .venv-dev
AIRFLOW_VENV ?= .venv-airflow
PYTEST_ARGS ?=
AIRFLOW_PYTEST_ARGS ?=
DEMO_ARGS ?=
AIRFLOW_DEMO_ARGS ?=
UI ?=
BENCH ?= $(wildcard bench/micro_*.py bench/e2e.py)
BENCH_ARGS ?=

SOURCES := $(shell find executor _fast -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h') \
	pyproject.toml setup.py MANIFEST.in
PIP := bin/python -m pip --disable-pip-version-check --no-input

# Another PYTHON= than the environment was made with: make it anew.
ifneq ($(PYTHON),)
stale = test -x $(1)/bin/python && test "$$($(PYTHON) -V 2>&1)" != "$$($(1)/bin/python -V)" && rm -f $(1)/.created $(1)/.installed
ignored := $(foreach venv,$(VENV) $(DEV_VENV) $(AIRFLOW_VENV),$(shell $(call stale,$(venv))))
endif

.PHONY: help test test-core test-airflow demo airflow-demo airflow-soak airflow-bench dev lint docs asan bench dist clean
.DELETE_ON_ERROR:

help:
	@echo 'make test    build sdist and wheel, run the tests against the wheel in $(VENV), then those with Airflow in'
	@echo '             $(AIRFLOW_VENV). PYTEST_ARGS="-k watch" for a part of the first;'
	@echo '             make test-airflow AIRFLOW_PYTEST_ARGS="-k metrics" for a part of the others'
	@echo 'make demo    install into $(VENV) and run a real job on a cluster inside this machine'
	@echo 'make airflow-demo   a real Airflow in $(AIRFLOW_VENV) runs a DAG on a cluster inside this machine; UI=1 stays up'
	@echo 'make airflow-soak   the same with 200 mapped tasks, while its scheduler is killed twice'
	@echo 'make dev     editable install with test, bench and lint tools in $(DEV_VENV)'
	@echo 'make lint    ruff, and mypy on the installed package'
	@echo 'make docs    the documentation as a site in build/docs; a broken link fails'
	@echo 'make asan    the compiled core under AddressSanitizer (gcc or clang with libasan)'
	@echo 'make bench   the benchmarks, one after the other (BENCH=bench/e2e.py for one, BENCH_ARGS=...)'
	@echo 'make airflow-bench  the executor against the KubernetesExecutor (BENCH_ARGS=--quick)'
	@echo 'make dist    sdist and wheel in dist/'
	@echo 'make clean   remove what these made'
	@echo 'PYTHON=/path/to/python3 chooses the interpreter; it must be 3.11 or newer.'

# The interpreter and the compiler are checked here once, with words instead of a compiler's log.
define make_venv
	@python=$$(PYTHON='$(PYTHON)' sh .ci/find-python) && \
	cc=$${CC:-$$($$python -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')} && \
	{ command -v $$cc >/dev/null || { \
	    echo "No C compiler: '$$cc' was not found. Install gcc or clang (build-essential on Debian and Ubuntu)," \
	        "or name one with CC=..." >&2; exit 1; }; } && \
	echo "$(1): $$($$python --version) ($$python)" && \
	$$python -m venv --clear $(1)
endef

$(VENV)/.created:
	$(call make_venv,$(VENV))
	@$(VENV)/$(PIP) install -q build
	@touch $@

dist/.built: $(VENV)/.created $(SOURCES)
	@rm -rf dist build
	@echo 'building the sdist, and the wheel from it'
	@$(VENV)/bin/python -m build --outdir dist . >dist.log 2>&1 || { cat dist.log; rm -f dist.log; exit 1; }
	@rm -f dist.log
	@ls dist/*.tar.gz dist/*.whl
	@$(VENV)/bin/python .ci/check-dist dist
	@touch $@

$(VENV)/.installed: dist/.built
	@$(VENV)/$(PIP) install -q --force-reinstall --no-deps dist/*.whl
	@$(VENV)/$(PIP) install -q dist/*.whl
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(VENV)/$(PIP) install -q "$$(echo dist/*.whl)[test]"
	@touch $@

$(AIRFLOW_VENV)/.created:
	$(call make_venv,$(AIRFLOW_VENV))
	@touch $@

$(AIRFLOW_VENV)/.installed: dist/.built $(AIRFLOW_VENV)/.created
	@echo 'installing Airflow into $(AIRFLOW_VENV)'
	@$(AIRFLOW_VENV)/$(PIP) install -q --force-reinstall --no-deps dist/*.whl
	@$(AIRFLOW_VENV)/$(PIP) install -q "$$(echo dist/*.whl)[airflow]"
	@touch $@

$(AIRFLOW_VENV)/.installed-test: $(AIRFLOW_VENV)/.installed
	@$(AIRFLOW_VENV)/$(PIP) install -q "$$(echo dist/*.whl)[airflow,test,airflow-test]"
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	@$(VENV)/$(PIP) install -q "$$(echo dist/*.whl)[lint]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(VENV)/$(PIP) install -q "$$(echo dist/*.whl)[docs]"
	@touch $@

# setup.py compiles what changed; the editable install itself follows changed .py files without help.
$(DEV_VENV)/.installed: $(filter-out %.py,$(SOURCES)) setup.py
	@if [ ! -e $(DEV_VENV)/.created ]; then $(MAKE) --no-print-directory $(DEV_VENV)/.created; fi
	@$(DEV_VENV)/$(PIP) install -q -e '.[test,bench,lint]'
	@touch $@

$(DEV_VENV)/.created:
	$(call make_venv,$(DEV_VENV))
	@touch $@

# The tests with Airflow run too where the others fail: what they find is worth knowing.
test:
	@status=0; \
	$(MAKE) --no-print-directory test-core || status=$$?; \
	$(if $(PYTEST_ARGS),,$(MAKE) --no-print-directory test-airflow || status=$$?;) \
	exit $$status

test-core: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-airflow: $(AIRFLOW_VENV)/.installed-test
	$(AIRFLOW_VENV)/bin/python -m pytest tests/airflow $(AIRFLOW_PYTEST_ARGS)

demo: $(VENV)/.installed
	$(VENV)/bin/shard-executor demo $(DEMO_ARGS)

airflow-demo: $(AIRFLOW_VENV)/.installed
	$(AIRFLOW_VENV)/bin/python -m shard_executor.airflow.demo $(if $(filter-out 0 no,$(UI)),--ui) $(AIRFLOW_DEMO_ARGS)

airflow-soak: $(AIRFLOW_VENV)/.installed
	$(AIRFLOW_VENV)/bin/python -m shard_executor.airflow.demo --tasks 200 --kills 2 $(AIRFLOW_DEMO_ARGS)

dev: $(DEV_VENV)/.installed
	@echo '$(DEV_VENV)/bin/python and $(DEV_VENV)/bin/pytest are ready; run `make dev` again after a change in _fast/'

lint: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m mypy

docs: $(VENV)/.installed-docs
	$(VENV)/bin/mkdocs build
	@echo 'open build/docs/index.html'

asan: $(VENV)/.installed-test
	@$(VENV)/$(PIP) install -q 'setuptools>=83' 'Cython>=3.2,<3.4'
	PYTHON=$(CURDIR)/$(VENV)/bin/python sh tests/property/run_asan.sh

bench: $(DEV_VENV)/.installed
	@set -e; for script in $(BENCH); do echo "== $$script"; $(DEV_VENV)/bin/python $$script $(BENCH_ARGS); done

airflow-bench: $(AIRFLOW_VENV)/.installed-test
	$(AIRFLOW_VENV)/bin/python bench/under_airflow_pods.py
	$(AIRFLOW_VENV)/bin/python bench/under_airflow.py $(BENCH_ARGS)

dist: dist/.built

clean:
	rm -rf $(VENV) $(DEV_VENV) $(AIRFLOW_VENV) .venv-ci dist dist.log build shard_executor.egg-info executor/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f _fast/*.c _fast/*.so
	find $(wildcard executor _fast tests bench) -name __pycache__ -type d -prune -exec rm -rf {} +
