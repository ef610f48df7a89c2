#!/usr/bin/env bash
# Install what building (and with "test": testing) needs, and nothing that is there already.
#
#   tools/setup.sh [test]
#
# Debian packages come from tools/packages.txt: as root they are installed, otherwise the command
# that would is printed and the script fails. Python packages come from tools/requirements.txt into
# .venv, the pages' from web/package-lock.json into web/node_modules; stamps of those lists make a second
# run a matter of milliseconds.
set -euo pipefail
cd "$(dirname "$0")/.."

stage=${1:-build}
case $stage in
build | test) ;;
*)
    echo "usage: tools/setup.sh [test]" >&2
    exit 2
    ;;
esac

# Names of the packages of the wanted sections.
wanted_packages() {
    awk -v stage="$stage" '
        /^\[/ { section = substr($1, 2, length($1) - 2); next }
        /^[a-z0-9]/ && (section == "build" || section == stage) { print $1 }
    ' tools/packages.txt
}

missing_packages() {
    local present
    present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
    # Node from elsewhere brings its own npm, and Debian's will not stand beside it.
    if command -v npm >/dev/null; then
        present+=$'\nnpm'
    fi
    comm -23 <(wanted_packages | sort) <(sort -u <<<"$present")
}

install_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: not a Debian system; install what tools/packages.txt lists" >&2
        return
    fi
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        {
            echo "setup: these Debian packages are missing: ${missing[*]}"
            echo "setup: run this as root, then try again:"
            echo
            echo "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
            echo
        } >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# .venv is bound to its path and its Python, so both belong to the stamp.
stamp_of_environment() {
    {
        cat tools/requirements.txt
        pwd
        python3 --version
    } | sha256sum | cut -d' ' -f1
}

install_python() {
    local stamp_file=.venv/cask-setup-stamp stamp site
    stamp=$(stamp_of_environment)
    if [ -f "$stamp_file" ] && [ "$(<"$stamp_file")" = "$stamp" ]; then
        return
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: python3 is older than 3.11: $(python3 --version)" >&2
        exit 1
    }
    echo "setup: making .venv with $(python3 --version)"
    python3 -m venv --clear .venv
    # Every dependency is in the list, so nothing may be resolved anew; pip check proves it.
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
        -r tools/requirements.txt
    .venv/bin/python -m pip check --disable-pip-version-check
    # `import cask` in .venv means the tree's own package, always the current one.
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$PWD/python" >"$site/cask-tree.pth"
    echo "$stamp" >"$stamp_file"
}

install_pages() {
    local stamp_file=web/node_modules/cask-setup-stamp stamp
    stamp=$({ cat web/package-lock.json; node --version; } | sha256sum | cut -d' ' -f1)
    if [ -f "$stamp_file" ] && [ "$(<"$stamp_file")" = "$stamp" ]; then
        return
    fi
    echo "setup: filling web/node_modules with $(node --version)"
    npm ci --prefix web --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel error
    echo "$stamp" >"$stamp_file"
}

install_packages
install_python
install_pages
