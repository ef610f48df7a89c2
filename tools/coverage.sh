#!/usr/bin/env bash
# Lines of src/ that the tests just run in a coverage build have reached.
#
#   tools/coverage.sh BUILD     prints a table, writes BUILD/report/index.html
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
lcov --quiet --capture --directory "$build" --output-file "$build/all.info"
lcov --quiet --extract "$build/all.info" "$PWD/src/*" --output-file "$build/src.info"
genhtml --quiet --output-directory "$build/report" "$build/src.info"
lcov --list "$build/src.info"
echo "coverage: $build/report/index.html"
