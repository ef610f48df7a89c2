"""The text "Diagnostics (distributed)" (004): captures and progress bars.

The dashboard's own pages are the observer's, and are tested there.
"""

import re

import dask.array as da
import pytest
from dask.diagnostics import ProgressBar
from distributed import get_task_stream, performance_report, progress, wait
from harness import eventually
from tasks import slowadd, slowinc


@pytest.fixture
def x():
    return da.ones((400, 400), chunks=(200, 200)).map_blocks(slowinc, delay=0.05, dtype=float).sum()


@pytest.mark.seed("S187")
def test_services_are_told(cluster, client):
    services = client.scheduler_info()["services"]
    assert isinstance(services, dict)
    assert all(isinstance(port, int) for port in services.values())


@pytest.mark.seed("S189", "S191", "S196")
def test_task_stream_has_start_and_stop_of_every_task(client, x):
    with get_task_stream() as ts:
        x.compute()
    history = ts.data
    assert len(history) >= 5  # four blocks, each fused with its part of the sum, and their sum
    for row in history:
        assert {"key", "worker", "thread", "status", "startstops"} <= set(row)
        assert row["status"] == "OK"
    spans = [s for row in history for s in row["startstops"] if s["action"] == "compute"]
    assert len(spans) == len(history)
    assert sum(s["stop"] - s["start"] >= 0.045 for s in spans) == 4


@pytest.mark.seed("S192")
def test_task_stream_has_the_transfers(client):
    with get_task_stream() as ts:
        x = client.submit(slowinc, 1, workers="alice")
        y = client.submit(slowinc, 2, workers="bob")
        z = client.submit(slowadd, x, y, workers="carol", key="sum")
        assert z.result() == 5
    (row,) = (row for row in ts.data if row["key"] == "sum")
    assert "transfer" in {s["action"] for s in row["startstops"]}


@pytest.fixture(scope="module")
def spin():
    """Busy long enough for a sampler that looks every 10 ms and sends every 0.5 s"""

    def spin(seconds):
        import time

        def loop(end):  # the innermost frame is not drawn
            while time.time() < end:
                pass

        loop(time.time() + seconds)

    return spin


@pytest.mark.seed("S190", "S193")
def test_statistical_profile(client, spin):
    wait(client.submit(spin, 0.3))

    def names(tree):
        yield tree["description"].get("name")
        for child in tree["children"].values():
            yield from names(child)

    tree = eventually(lambda: "spin" in set(names(t := client.profile())) and t)
    assert {"count", "children", "identifier", "description"} <= set(tree)
    eventually(lambda: "spin" in set(names(client.profile(key="spin"))))
    assert client.profile(key="no-such-prefix")["count"] == 0


@pytest.mark.seed("S194", "S195", "S197", "S198")
def test_captures_written_to_files(client, x, spin, in_tmp):
    """The first two are drawn by the client, which needs bokeh for it"""
    with get_task_stream(plot="save", filename="task-stream.html") as ts:
        x.compute()
    assert ts.data and len((in_tmp / "task-stream.html").read_text()) > 2000

    wait(client.submit(spin, 0.3))
    file = in_tmp / "dask-profile.html"
    eventually(lambda: client.profile(key="spin", filename=str(file)) and "spin" in file.read_text())

    with performance_report(filename="dask-report.html"):
        x.compute()
    report = (in_tmp / "dask-report.html").read_text()
    for section in ("Summary", "Task Stream", "System", "Scheduler Logs", "Worker Profile", "Bandwidth"):
        assert section in report
    assert "performance_report" in report  # the code that was measured


@pytest.mark.seed("S199", "S200")
def test_local_progress_bar(client, x, capsys):
    with ProgressBar():
        x.compute(scheduler="sync")
    assert "100% Completed" in capsys.readouterr().out


@pytest.mark.seed("S180", "S199", "S201", "S202", "S208")
def test_distributed_progress_bar(client, x, capsys):
    x = x.persist()  # start computation in the background
    progress(x, interval="20ms")  # watch progress
    assert x.compute() == 400 * 400 * 2  # convert to final result
    bars = re.findall(r"\[#* *\] \| *(\d+)% Completed", capsys.readouterr().out)
    assert bars and bars[-1] == "100"
    assert [int(p) for p in bars] == sorted(int(p) for p in bars)


@pytest.mark.seed("S201")
def test_progress_of_a_failing_task_ends(client, capsys):
    f = client.submit(lambda: 1 / 0)
    progress(f, interval="20ms")
    assert f.status == "error"
