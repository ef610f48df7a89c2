# One-word commands; the work is done by Meson and by the scripts in tools/. `make help` lists them.

BUILD ?= build
MESON := meson
# What a test run of one kind is built with. Options are fixed when the folder is made.
ASAN_SETUP := -Doptimization=1 -Db_sanitize=address,undefined
TSAN_SETUP := -Db_sanitize=thread
FUZZ_SETUP := -Dfuzz=true -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
COVERAGE_SETUP := -Db_coverage=true

SEED ?= 1
SEEDS ?= 1
MINUTES ?= 5
SECONDS_EACH ?= 60

.PHONY: build setup demo test check sim chaos fuzz bench lint format coverage asan tsan labextension wheel clean help

build: $(BUILD)/build.ninja ## build/cask and all that is tested
	ninja -C $(BUILD)

setup: ## install what building and the demo need (nothing else), once
	tools/setup.sh

demo: setup build ## real work on a local cluster, narrated
	.venv/bin/python tools/demo.py

test: ## everything that CI runs
	tools/setup.sh test
	tools/run_tests.py

check: build ## the inner loop: unit tests, layers, purity, headers
	meson test -C $(BUILD) --no-rebuild --suite unit --suite tools

sim: build ## simulate SEEDS clusters from seed SEED on
	$(BUILD)/test/sim/sim --seed $(SEED) --seeds $(SEEDS)
	$(BUILD)/test/sim/sim_core --seed $(SEED) --seeds $(SEEDS)

chaos: build ## Dask programs for MINUTES while processes die at random, from seed SEED on
	.venv/bin/python test/chaos/chaos.py --minutes $(MINUTES) --seed $(SEED)

fuzz: build-fuzz/build.ninja ## every fuzzer for SECONDS_EACH seconds
	ninja -C build-fuzz fuzzers
	tools/fuzz.sh build-fuzz $(SECONDS_EACH)

bench: setup build ## ratios against stock, into bench/RESULTS.md
	.venv/bin/python bench/run.py

lint: build ## layout, static analysis, sizes for judging
	tools/lint.sh $(BUILD)

format: ## lay the C sources out
	tools/lint.sh --format

coverage: build-coverage/build.ninja ## lines that the unit tests reach, into build-coverage/report
	ninja -C build-coverage
	meson test -C build-coverage --no-rebuild --suite unit
	tools/coverage.sh build-coverage

asan: build-asan/build.ninja ## unit tests under AddressSanitizer and UBSan
	ninja -C build-asan
	meson test -C build-asan --no-rebuild --suite unit --suite sim

tsan: build-tsan/build.ninja ## unit tests under ThreadSanitizer
	ninja -C build-tsan
	meson test -C build-tsan --no-rebuild --suite unit

labextension: setup build ## the dashboard in a real JupyterLab (installed from PyPI into ~/.cache)
	.venv/bin/python test/labextension/check.py

wheel: setup ## a wheel in dist/
	.venv/bin/python -m pip wheel --no-deps -w dist .

clean: ## remove what was built (not .venv)
	rm -rf $(BUILD) build-asan build-tsan build-fuzz build-coverage dist

help: ## this list
	@sed -n 's/^\([a-z]*\):.* ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(BUILD)/build.ninja:
	$(MESON) setup $(BUILD)

build-asan/build.ninja:
	$(MESON) setup build-asan $(ASAN_SETUP)

build-tsan/build.ninja:
	$(MESON) setup build-tsan $(TSAN_SETUP)

build-fuzz/build.ninja:
	CC=clang $(MESON) setup build-fuzz $(FUZZ_SETUP)

build-coverage/build.ninja:
	$(MESON) setup build-coverage $(COVERAGE_SETUP)
