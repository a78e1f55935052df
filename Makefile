# make demo: see a push deploy.  make test: prove it.  Both set up all they need under .venv.
# make quick: unit tests and some pushes, two minutes.
# make docs: the pages as a site with search, served on this machine (PORT=8000).
# make deb RELEASE=12: the package for Debian 12 (or 13), in dist/.  make wheel: for any Linux.
# make lock: renew requirements.txt, what is installed, with hashes.  make audit: look for advisories against it.
# make walk: all on servers of their own, which it boots; needs root, minutes the first time.
# make matrix: a quick part of the tests on each Python and git that can be had here; needs root, an hour.
# make fuzz SEED=1: ask the API what its document allows, and much that it does not.
# make fleet N=50 SEED=1: a controller and its nodes under random faults; ARGS="--nodes 8".
# make chaos N=500 SEED=1: kill at random; ARGS=--fake without Salt.  make bench: what a deployment costs, ten minutes.
PYTHON ?= python3
DIST := dist
PORT := 8000
NOT_LOADED := tests/trees|/(share|loader|node|extension|states)/
REVISION := 1
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --python $(BIN)/python --no-deps --compile-bytecode
LOCKED := $(UV) --require-hashes --requirements
LOCK := $(BIN)/uv pip compile --upgrade --universal --python-version 3.10 --generate-hashes --quiet \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: demo test quick check docs wheel deb lock audit walk matrix fuzz chaos fleet power bench clean

demo: $(VENV)/.package
	@$(BIN)/corpus demo

# Bytecode first, also where PYTHONDONTWRITEBYTECODE is set: else each of thousands of processes compiles all it loads.
test: $(VENV)/.test
	@sh tests/need_system.sh
	@$(BIN)/python -m compileall -q -x '$(NOT_LOADED)' corpushooks tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

quick: $(VENV)/.test
	@sh tests/need_system.sh
	@$(BIN)/python -m compileall -q -x '$(NOT_LOADED)' corpushooks tests
	$(BIN)/python -m pytest -q -n 2 -m "not slow" tests/unit tests/host/test_push.py $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The pages are at http://127.0.0.1:$(PORT) until you press Ctrl-C, and stay in build/site"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site $(PORT)

wheel: $(VENV)/.package
	@mkdir -p $(DIST)
	$(BIN)/uv build --quiet --wheel --out-dir $(DIST) --no-create-gitignore .

deb: $(VENV)/.package
	@test -n "$(RELEASE)" || { echo "for which Debian? make deb RELEASE=12, or 13" >&2; exit 1; }
	@$(BIN)/python .debian/build.py --release $(RELEASE) --revision $(REVISION) --into $(DIST) $(ARCH:%=--arch %)

lock: $(VENV)/.package
	$(LOCK) setup.cfg --extra ldap --extra notify --extra web -o requirements.txt
	$(LOCK) setup.cfg --all-extras -c requirements.txt -o tests/requirements.txt
	echo uv | $(LOCK) - -o .ci/uv.txt

audit:
	@$(PYTHON) -m tests.support.audit requirements.txt tests/requirements.txt .ci/uv.txt

walk: $(VENV)/.test
	@sh tests/need_system.sh debootstrap systemd-nspawn lintian
	$(BIN)/python -m pytest $(or $(ARGS),$(wildcard tests/walk/walk_*.py))

matrix: $(VENV)/.test
	@sh tests/need_system.sh debootstrap systemd-nspawn
	$(BIN)/python -m tests.support.matrix $(ARGS)

fuzz: $(VENV)/.test
	@sh tests/need_system.sh
	$(BIN)/python -m tests.support.fuzz $(SEED)

chaos: $(VENV)/.test
	@sh tests/need_system.sh
	$(BIN)/python -m tests.faults.chaos $(or $(N),50) $(SEED) $(ARGS)

fleet: $(VENV)/.test
	@sh tests/need_system.sh
	$(BIN)/python -m tests.faults.fleet $(or $(N),20) $(SEED) $(ARGS)

power: $(VENV)/.test
	@sh tests/need_system.sh
	$(BIN)/python -m tests.faults.power $(SEED)

bench: $(VENV)/.test
	@sh tests/need_system.sh rsync
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info

# uv installs what is locked, in seconds, and shows what it does; itself it is installed by pip, locked too.
# Salt's worker writes no bytecode: without any it compiles what it loads at each start, and grains for each deployment.
$(VENV)/.package: requirements.txt .ci/uv.txt setup.cfg setup.py pyproject.toml
	@echo "Setting up $(VENV), once: about 90 packages, 60 MB"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "corpushooks needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r .ci/uv.txt
	@$(LOCKED) requirements.txt
	@$(UV) --editable .
	@touch $@

$(VENV)/.test $(VENV)/.docs &: $(VENV)/.package tests/requirements.txt
	@$(LOCKED) tests/requirements.txt
	@touch $(VENV)/.test $(VENV)/.docs
