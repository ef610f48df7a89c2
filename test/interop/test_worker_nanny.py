"""What a nanny does for its worker: the environment, plugins, calls. Here both are one process."""

from __future__ import annotations

import os

from distributed import Client

from worker_clusters import make_cluster  # noqa: F401  (a fixture)


def variables(names):
    return [os.environ.get(name) for name in names]


def test_hashes_agree(make_cluster):
    """Values are sent by their hash: it is the same in workers of ours, and of stock's with nannies"""
    cluster = make_cluster("alice", "bob")
    cluster.start_workers("stan", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        hashes = client.run(lambda: hash("some text"))
        assert len(hashes) == 3 and len(set(hashes.values())) == 1, hashes


SETTINGS = """
distributed:
  nanny:
    pre-spawn-environ: {OMP_NUM_THREADS: 3, MKL_NUM_THREADS: null, FIRST: 1, OWN: 2}
    environ: {FIRST: 2, SECOND: two words}
"""


def test_environment_by_settings(make_cluster, tmp_path):
    """environ before pre-spawn-environ before defaults; our own variables before all; null takes one away"""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "FIRST", "SECOND", "OWN", "OPENBLAS_NUM_THREADS"]
    cluster = make_cluster("alice", env={"DASK_CONFIG": str(tmp_path), "OWN": "5"})
    with Client(cluster.address, timeout=20) as client:
        (found,) = client.run(variables, names).values()
        assert found == ["3", None, "2", "two words", "5", "1"]
