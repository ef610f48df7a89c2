"""One life of a local cluster: made, a first result, closed. Prints the seconds of each as JSON.

    start.py stock|cask WORKERS
"""

from __future__ import annotations

import json
import operator
import sys
import time


def main(kind: str, workers: int) -> None:
    if kind == "stock":
        from dask.distributed import Client, LocalCluster
    else:
        from cask import Client, LocalCluster
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return marks[-1] - marks[-2]

    # Both without a dashboard, which only stock's would have.
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    seconds = {"workers": mark()}
    client = Client(cluster)
    if client.submit(operator.neg, 1).result() != -1:
        raise RuntimeError("wrong")
    seconds["result"] = mark()
    client.close()
    cluster.close()
    seconds["closed"] = mark()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
