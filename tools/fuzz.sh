#!/usr/bin/env bash
# Run every fuzzer of a build folder for some seconds each.
#
#   tools/fuzz.sh BUILD SECONDS [NAME...]
#
# fuzz_NAME starts from test/fuzz/seeds/NAME (kept in git) and from corpus/NAME (found here before,
# not kept), with test/fuzz/NAME.dict if there is one. A crash leaves its input in corpus/ and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1
seconds=$2
shift 2

if [ $# -eq 0 ]; then
    mapfile -t programs < <(find "$build/test/fuzz" -maxdepth 1 -type f -executable -name 'fuzz_*' | sort)
else
    programs=("${@/#/$build/test/fuzz/fuzz_}")
fi
if [ ${#programs[@]} -eq 0 ]; then
    echo "fuzz: no fuzzer in $build/test/fuzz" >&2
    exit 1
fi

passed=0
failed=0
for program in "${programs[@]}"; do
    name=${program##*/fuzz_}
    mkdir -p "corpus/$name"
    arguments=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1
        -artifact_prefix="corpus/$name-" "corpus/$name")
    if [ -d "test/fuzz/seeds/$name" ]; then
        arguments+=("test/fuzz/seeds/$name")
    fi
    if [ -f "test/fuzz/$name.dict" ]; then
        arguments+=(-dict="test/fuzz/$name.dict")
    fi
    log=$build/test/fuzz/$name.log
    if "$program" "${arguments[@]}" >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "fuzz: $name: clean after $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs"
    else
        failed=$((failed + 1))
        tail -n 40 "$log"
        echo "fuzz: $name: FAILED, see $log"
    fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
