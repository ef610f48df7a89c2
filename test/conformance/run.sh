#!/usr/bin/env bash
# Run dask.distributed's own tests against build/cask (or the stock scheduler).
#
#   test/conformance/run.sh CLONE SHARED [--stock] [--workers] [options of run_conformance.py]
#
# --stock    the stock scheduler instead of cask's
# --workers  the tests' workers are processes of cask worker, those of gen_cluster included (worker_processes.py)
# CLONE   a clone of dask/distributed, 2026.7.1 or near
# SHARED  the folder that holds conformance/run_conformance.py
#
# PYTHON (default: .venv, else python3) is the Python of the stock workers and clients.
# The harness is copied to RESULTS (default: build/conformance) first: it may not write where
# it lies.  A run that was interrupted goes on where it stopped; delete RESULTS for a fresh one.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
clone=$1 shared=$2
shift 2

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
results=${RESULTS:-$root/build/conformance}
cask=${CASK:-$root/build/cask}

if [ "${1:-}" = --stock ]; then
    shift
    scheduler=(--reference)
    name=stock
else
    [ -x "$cask" ] || { echo "$cask does not exist: run make first" >&2; exit 1; }
    scheduler=(--scheduler-cmd "$cask scheduler --host {host} --port {port}")
    name=cask
fi

workers=()
if [ "${1:-}" = --workers ]; then
    shift
    workers=(--worker-cmd "$cask worker {scheduler} --name {name} --nthreads {nthreads} --memory-limit {memory_limit}")
    workers+=(--timeout 120) # two Pythons begin with each test
    name=$name-workers
    export PYTEST_ADDOPTS="-p conformance_plugin -p worker_processes"
fi

mkdir -p "$results"
cp "$root"/test/conformance/worker_processes.py "$shared"/conformance/*.py "$shared"/conformance/*.json "$results/"
chmod u+w "$results"/*.py "$results"/*.json

# A shell on a desktop or in CI may have settings of its own; the tests set what they need.
unset "${!DASK_@}"
export CASK_PYTHON=$python
export DASK_CASK__WORKER__SPARES=0
export DASK_CASK__PLANNER__PREWARM=False # hundreds of schedulers, most of which plan nothing
export DASK_CASK__DASHBOARD__PROCESS=False # nor are they looked at; a dashboard would outlive its killed scheduler
exec "$python" "$results/run_conformance.py" --tests "$clone" --python "$python" \
    "${scheduler[@]}" "${workers[@]}" --out "$results/$name.jsonl" --verbose "$@"
