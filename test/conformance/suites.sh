#!/usr/bin/env bash
# Dask's own tests on cask.LocalCluster.
#
#   test/conformance/suites.sh deploy CLONE [--stock] [options of pytest]
#   test/conformance/suites.sh dask [--stock] [options of pytest] [TESTS]
#
# deploy   distributed's tests of clusters, with cask's in the place of LocalCluster
# dask     Dask's tests of collections, computed on a cluster; those that its package has.
#          TESTS: as @array/tests/test_slicing.py; else a sample of arrays, dataframes and bags
# --stock  on Dask's own LocalCluster
# CLONE    a clone of dask/distributed, 2026.7.1 or near
#
# PYTHON (default: .venv, else python3) has `distributed`, pytest and pytest-timeout; it gets links to CLONE's tests.
# What a run writes lies in RESULTS (default: build/suites): output, as SUITE.log, SUITE-stock.log, and junit's XML.
set -euo pipefail

if [ $# -lt 1 ] || { [ "$1" = deploy ] && [ $# -lt 2 ]; }; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
suite=$1
shift

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
results=${RESULTS:-$root/build/suites}
packages=$("$python" -c 'import distributed, pathlib; print(pathlib.Path(distributed.__file__).parents[1])')

unset "${!DASK_@}"
export CASK_PYTHON=$python PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$root/python:$root/test/conformance
options=(-p cask_clusters -p no:cacheprovider --color=no -q --tb=short --show-capture=no -m "not slow")
case $suite in
deploy)
    clone=$(cd "$1" && pwd)
    shift
    link=$packages/distributed/deploy/tests
    [ -e "$link" ] || ln -s "$clone/distributed/deploy/tests" "$link"
    options+=(-c "$clone/pyproject.toml" -p distributed.utils_test -p distributed.pytest_resourceleaks)
    options+=(--certificates "$clone/distributed/tests" --rootdir "$packages" --timeout 120)
    options+=(-W "ignore:get_ipv6 is deprecated:FutureWarning") # which 2026.8's utils_test calls itself
    tests=()
    for name in adaptive adaptive_core cluster deploy_utils local slow_adaptive spec_cluster; do
        tests+=("$packages/distributed/deploy/tests/test_$name.py")
    done
    ;;
dask)
    options+=(-c pytest.ini --rootdir "$packages/dask" --on-a-cluster --timeout 300 -W ignore)
    tests=()
    ;;
*)
    echo "$suite: neither deploy nor dask" >&2
    exit 2
    ;;
esac

name=$suite
for argument; do
    case $argument in
    --stock) name=$suite-stock options+=(--stock) ;;
    @*) tests+=("$packages/dask/${argument#@}") ;;
    *) options+=("$argument") ;;
    esac
done
if [ "$suite" = dask ] && [ ${#tests[@]} = 0 ]; then
    options+=(--sample 40)
    for file in array/tests/test_{array_core,linalg,rechunk,reductions,slicing}.py bag/tests/test_bag.py \
        dataframe/{tests/test_{groupby,multi,shuffle},io/tests/test_{csv,parquet}}.py; do
        tests+=("$packages/dask/$file")
    done
    # It closes a file that the array still maps when it fails, which ends Python; it fails on any cluster.
    options+=(--deselect array/tests/test_array_core.py::test_memmap)
fi

mkdir -p "$results/work"
cd "$results/work" # tests leave folders where they are run
echo "[pytest]" >pytest.ini
"$python" -m pytest "${options[@]}" --junit-xml "../$name.xml" "${tests[@]}" 2>&1 | tee "../$name.log"
