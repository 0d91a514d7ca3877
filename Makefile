# Every target begins with `setup`, which takes a moment when there is nothing to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# A comma would end a word of $(if).
KEPT := CI,FUZZ,FUZZ_MESSAGES,FUZZ_SEED,FUZZ_FIRST,FUZZ_SESSIONS
# Namespaces, packet sockets and PMD threads on real interfaces need root. With sudo nothing of
# root's is left in the checkout, which could not be removed then.
ROOT := $(if $(SUDO),$(SUDO) --preserve-env=$(KEPT) env \
	PYTHONPYCACHEPREFIX=/var/cache/vhost-agent/pycache \
	PYTEST_ADDOPTS='-p no:cacheprovider' HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis-of-root)
# Compiling the program takes as long as its start; tests and the demo start it hundreds of times.
unexport PYTHONDONTWRITEBYTECODE
# Of 2 MiB: three switches and their guests at the same time.
BENCH_PAGES := 2560
GUEST_PAGES := 2048
# Seconds of `make soak`; a whole hour or more draws its chart.
SOAK ?= 3600
# Of `make chaos`.
CHAOS ?= 600
# The Python that runs what is installed: Debian's, which has the libraries as packages.
SYSTEM_PYTHON := /usr/bin/python3
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' agent/__init__.py)
PACKAGE := build/package
DEB := build/ovs-vhost-agent_$(VERSION)_amd64.deb
SOURCES := $(wildcard pmd_ext/*.pyx tools/*.pyx pmd_ext/*.pxd pmd_ext/*.h pmd_ext/dpdk/*.pxd) setup.py

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-debian13 test-guests test-metrics test-package fuzz bench bench-quick bench-control bench-idle gap chaos profile asan tsan soak lint lock audit docs docs-links install uninstall deb clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/built  ## install missing packages, make .venv, build the extension

run: setup  ## serve a database of its own in the foreground and print what to try next
	@$(ROOT) $(BIN)/python -m tools.run

demo: setup  ## two guests, a ping and a packet burst through the switch, start to finish
	@$(ROOT) $(BIN)/python -m tools.demo

test: setup  ## run all tests (as root: guests and namespaces are real)
	$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m pytest

test-debian13: setup .debian13-packages  ## the same in a Debian 13 root, made once (DPDK 24.11, OVS 3.5, Python 3.13)
	$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.debian13 make test

test-guests: setup .debian13-packages  ## QEMU, libvirt, IOMMU, migration, VDUSE: OVS's document, line by line
	$(ROOT) $(BIN)/python -m tools.borrow $(GUEST_PAGES) -- $(BIN)/python -m pytest tests/guests

test-metrics: setup .metrics-packages  ## Debian's Prometheus scrapes the agent; the dashboard and the alerts are checked
	$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m pytest tests/metrics

fuzz: setup  ## a million messages and ring states of hostile guests (FUZZ_MESSAGES=n FUZZ_SEED=x)
	FUZZ_MESSAGES=$${FUZZ_MESSAGES-1000000} $(ROOT) $(BIN)/python -m pytest -s tests/hostile/test_fuzz.py

bench: setup .bench-packages  ## packets a second and delays beside testpmd and OVS (15 minutes; ARGS=...)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow $(BENCH_PAGES) -- $(BIN)/python -m tools.bench $(ARGS)
	@$(if $(ARGS),,$(BIN)/python -m tools.bench_charts build/bench.json docs/charts)

bench-quick: setup  ## one number: packets a second beside testpmd, and what it was (1 minute)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow $(BENCH_PAGES) -- $(BIN)/python -m tools.bench \
		--quick --json build/bench-quick.json $(ARGS)

bench-control: setup .bench-packages  ## time the control plane beside OVS's (5 minutes; ARGS=--quick)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.bench_control $(ARGS)

bench-idle: setup  ## what PMD threads take at rest, and how fast they wake (4 minutes; ARGS=--quick)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.bench_idle $(ARGS)

gap: setup  ## how long guests are without a switch when the agent dies, and why (3 minutes)
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.gap $(ARGS)

chaos: setup .chaos-packages  ## kill, stop, starve and mislead everything under traffic (CHAOS=seconds, 600; ARGS=--seed=N)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.chaos \
		--seconds=$(CHAOS) --json=build/chaos.json $(ARGS)

profile: setup .bench-packages  ## where a PMD thread's time goes under load (15 s; ARGS="--bytes=1500")
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.profile $(ARGS)

asan: setup  ## tests on a data plane and librte_vhost that notice memory errors (6 minutes; ARGS=...)
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.sanitize address $(ARGS)

tsan: setup  ## data races between threads, as far as a sanitizer can tell; read what it reports (ARGS=...)
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.sanitize thread $(ARGS)

soak: setup  ## an hour of changes under traffic: nothing grows, nothing is lost (SOAK=SECONDS)
	@mkdir -p build
	@$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m tools.soak --seconds=$(SOAK)
	@[ $(SOAK) -lt 3600 ] || $(BIN)/python -m tools.soak_chart build/soak.json docs/charts/soak.svg

lint: setup  ## ruff, mypy --strict, Cython's warnings
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tools.cython_warnings

lock: setup  ## renew requirements.lock: newest versions that fit pyproject.toml, with their hashes
	$(BIN)/python tools/requirements.py wanted >$(VENV)/wanted
	$(BIN)/uv pip compile --quiet --universal --upgrade \
		--python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		--output-file requirements.lock $(VENV)/wanted

audit: setup  ## ask whether a version in requirements.lock has a known vulnerability (needs a network)
	$(BIN)/python -m tools.audit

docs: setup  ## write the generated pages of docs/, build the site in build/site
	$(BIN)/python -m tools.docs
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/site
	@echo "build/site/index.html"

docs-links: setup  ## ask for the few links that lead out of the site (needs a network)
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees -b linkcheck docs build/links

test-package: setup deb .debian13-packages  ## installed on a clean Debian 12, with systemd, as its own user
	$(ROOT) $(BIN)/python -m tools.borrow -- $(BIN)/python -m pytest tests/package

install: $(PACKAGE)/built  ## install to PREFIX (/usr/local), below DESTDIR
	packaging/install $(SYSTEM_PYTHON) $(PACKAGE)

uninstall:  ## take away what install put there
	packaging/uninstall

deb: $(PACKAGE)/built  ## build/ovs-vhost-agent_VERSION_amd64.deb, for this Debian
	packaging/make-deb $(SYSTEM_PYTHON) $(PACKAGE) $(DEB)

clean:  ## remove what setup and the build made
	rm -rf build $(VENV) *.egg-info pmd_ext/*.so pmd_ext/lib tools/*.so

# Packages are checked with every call; the environment and the extension only after changes.
$(VENV)/built: $(VENV)/environment $(SOURCES) tools/build-vhost | .packages
	@tools/build-vhost
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

# Each file by its hash. What comes as source is built with the setuptools of the lock.
$(VENV)/environment: requirements.lock tools/requirements.py | .packages
	$(PYTHON) -m venv --clear $(VENV)
	$(PYTHON) tools/requirements.py locked pip setuptools >$(VENV)/first.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r $(VENV)/first.lock
	$(BIN)/pip install --quiet --require-hashes --no-deps --no-build-isolation -r requirements.lock
	@touch $@

$(PACKAGE)/built: $(SOURCES) $(wildcard agent/*.py schema/* packaging/build packaging/*.py) \
		pyproject.toml requirements.lock tools/build-vhost | .deb-packages
	packaging/build $(SYSTEM_PYTHON) $(PACKAGE)
	@touch $@

.PHONY: .packages
.packages:
	@PYTHON=$(PYTHON) tools/install-packages

.PHONY: .bench-packages
.bench-packages:
	@PYTHON=$(PYTHON) tools/install-packages bench

.PHONY: .chaos-packages
.chaos-packages:
	@PYTHON=$(PYTHON) tools/install-packages chaos

.PHONY: .metrics-packages
.metrics-packages:
	@PYTHON=$(PYTHON) tools/install-packages metrics

.PHONY: .debian13-packages
.debian13-packages:
	@PYTHON=$(PYTHON) tools/install-packages debian13

.PHONY: .deb-packages
.deb-packages:
	@PYTHON=$(SYSTEM_PYTHON) tools/install-packages deb
