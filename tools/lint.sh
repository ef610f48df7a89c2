#!/usr/bin/env bash
# Look at the sources.
#
#   tools/lint.sh [BUILD]    layout, clang-tidy on what changed since $LINT_SINCE (default: the branch's
#                            upstream, or the last commit), headers, sizes
#   tools/lint.sh --all      the same, clang-tidy on every file of src/
#   tools/lint.sh --quick    layout only
#   tools/lint.sh --format   lay the files out
set -euo pipefail
cd "$(dirname "$0")/.."

mode=check
build=build
case ${1:-} in
--quick) mode=quick ;;
--format) mode=format ;;
--all) mode=all ;;
*) build=${1:-build} ;;
esac

# Tables (.def) keep their own columns: clang-format does not understand them.
mapfile -t sources < <(git ls-files 'src/*.[ch]' 'test/*.[ch]' 'bench/*.[ch]')

if [ "$mode" = format ]; then
    clang-format -i "${sources[@]}"
    exit 0
fi

unlike=()
for source in "${sources[@]}"; do
    clang-format --dry-run -Werror "$source" 2>/dev/null || unlike+=("$source")
done
if [ ${#unlike[@]} -gt 0 ]; then
    printf '%s\n' "${unlike[@]}"
    echo "lint: layout of ${#unlike[@]} files differs; make format" >&2
    exit 1
fi
echo "lint: layout of ${#sources[@]} files is right"
if [ "$mode" = quick ]; then
    exit 0
fi

since=${LINT_SINCE:-$(git rev-parse --verify -q '@{upstream}' || git rev-parse HEAD~1)}
if [ "$mode" = all ]; then
    mapfile -t changed < <(git ls-files 'src/*.c')
else
    mapfile -t changed < <(git diff --name-only --diff-filter=d "$since" -- 'src/*.c')
fi
if [ ${#changed[@]} -gt 0 ]; then
    clang-tidy -p "$build" --quiet "${changed[@]}"
fi
echo "lint: clang-tidy found nothing in ${#changed[@]} files"

tools/headers.py . cc
tools/layers.py .
tools/sizes.py .
