"""What stock's dashboard answers, in a form to compare ours with: which paths there are, the keys of its JSON, its metrics.

    .venv/bin/python test/interop/observer_stock.py

starts a stock scheduler with bokeh and a worker, and writes observer_stock.json.  `answers_of` is what the tests ask ours with.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import sys
import urllib.error
import urllib.parse
import urllib.request

GOLDEN = pathlib.Path(__file__).with_name("observer_stock.json")

PATHS = """/ /health /metrics /sitemap.json /json/counts.json /json/identity.json /json/index.html /individual-plots.json /info
/info/main/workers.html /info/main/exceptions.html /info/main/logs.html /info/worker/nobody.html /info/task/nothing.html
/info/call-stacks/nobody.html /info/call-stack/nothing.html /nothing /api/v1 /api/v1/get_workers /status /workers /tasks /system
/profile /profile-server /graph /groups /gpu /hardware /shuffle /stealing /events /counters /exceptions""".split()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


opener = urllib.request.build_opener(NoRedirect)


def get(url, timeout=30, **headers):
    """(status, headers, body), whatever the status"""
    request = urllib.request.Request(url, headers=headers)
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def worker_paths(address):
    quoted = urllib.parse.quote(address, safe="")
    return [f"/info/{kind}/{quoted}.html" for kind in ("worker", "logs", "call-stacks")]


def families(text):
    """{name: [type, labels of its samples]}"""
    from prometheus_client.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(text):
        labels = sorted({label for sample in family.samples for label in sample.labels})
        samples = sorted({sample.name for sample in family.samples})
        found[family.name] = {"type": family.type, "labels": labels, "samples": samples}
    return found


def answers_of(base, worker, key):
    """What a scheduler with one worker, one finished and one failed task says; `key` is a task that it knows"""
    named = dict(zip(("worker", "logs", "call-stacks"), worker_paths(worker), strict=True))
    named["task"] = f"/info/task/{urllib.parse.quote(key, safe='')}.html"
    statuses = {path: get(base + path)[0] for path in PATHS}
    statuses |= {f"known {kind}": get(base + path)[0] for kind, path in named.items()}
    locations = {path: get(base + path)[1]["Location"] for path in ("/", "/info")}
    metrics = get(base + "/metrics")
    return {
        "statuses": statuses,
        "locations": locations,
        "counts": sorted(json.loads(get(base + "/json/counts.json")[2])),
        "plots": json.loads(get(base + "/individual-plots.json")[2]),
        "health": get(base + "/health")[2].decode(),
        "families": {n: f for n, f in families(metrics[2].decode()).items() if not n.startswith("python_")},
    }


def play(client):
    """A finished and a failed task, a semaphore; the key of the finished one, the address of the worker"""
    from distributed import Semaphore, wait

    semaphore = Semaphore(max_leases=2, name="observed")
    done = client.submit(lambda x: x + 1, 1, key=("done", 0))
    failed = client.submit(lambda: 1 / 0, key="failed")
    wait([done, failed])
    return semaphore, done, failed, next(iter(client.scheduler_info()["workers"]))


def record():
    import harness
    from distributed import Client

    scheduler = harness.Scheduler(command=shlex.join([sys.executable, "-m", "dask", "scheduler"]))
    worker = harness.Worker(scheduler.address, "a")
    try:
        with Client(scheduler.address) as client:
            client.wait_for_workers(1)
            port = client.scheduler_info()["services"]["dashboard"]
            *held, address = play(client)
            found = answers_of(f"http://127.0.0.1:{port}", address, str(held[1].key))
    finally:
        worker.close()
        scheduler.close()
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
