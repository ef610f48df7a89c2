#!/usr/bin/env bash
# Does `pip install .` work? Into an environment of its own, without the libraries it needs (they are big).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# From the files that git knows: nothing that lies around may be needed, and nothing is left beside the sources.
mkdir "$folder/source"
git ls-files -z | xargs -0 tar -c --ignore-failed-read 2>/dev/null | tar -x -C "$folder/source"
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install -q --disable-pip-version-check --no-deps "$folder/source"

cd /
cask=$folder/env/bin/cask
version=$(PATH=$folder/env/bin:$PATH cask --version)
"$folder/env/bin/python" -c 'import cask, cask.executor, cask.planner'
"$folder/env/bin/python" -c 'from cask.executor.native import native; assert native is not None'
for command in scheduler worker status explain story trace internals; do
    "$cask" $command --help >/dev/null
    grep -q "^\.TH CASK" "$folder/env/share/man/man1/cask-$command.1"
done
grep -q scheduler "$folder/env/share/bash-completion/completions/cask"
echo "wheel: $version is installed by pip: program, package with its C part, manuals, completion"
