"""The text "Local Exceptions" (001): an error far away, brought home and rerun there."""

import io
import pdb
import re
import sys
import traceback
import types

import dask
import dask.bag as db
import pytest
from dask import delayed
from distributed import futures_of, wait

INPUTS = [9, 4, 2, 76, 2, 1, 5]


def dec(x):
    return x - 1


def recip(x):
    return 1 / x


# What a user types lives in __main__ and is sent by value; so do these.
for function in (dec, recip):
    function.__module__ = "__main__"


@pytest.fixture
def out():
    ddec = delayed(dec)
    drecip = delayed(recip)
    dsum = delayed(sum)
    return dsum([drecip(ddec(x)) for x in INPUTS])


def last_frame(error):
    return traceback.extract_tb(error.__traceback__)[-1]


def debugger(error, *commands):
    """What pdb's post-mortem prints for commands"""
    output = io.StringIO()
    session = pdb.Pdb(stdin=io.StringIO("\n".join([*commands, "q", ""])), stdout=output)
    session.use_rawinput = False
    session.reset()
    session.interaction(None, error.__traceback__)
    return output.getvalue()


@pytest.mark.seed("S45", "S46")
def test_delayed_builds_a_graph_and_runs_nothing(client, out):
    keys = list(dict(out.dask))
    counts = {name: sum(key.startswith(name + "-") for key in keys) for name in ("dec", "recip", "sum")}
    assert counts == {"dec": 7, "recip": 7, "sum": 1}
    assert all(re.fullmatch(r"(dec|recip|sum)-[0-9a-f-]{32,36}", key) for key in keys)
    assert client.who_has() == {}


@pytest.mark.seed("S1", "S2", "S4", "S48", "S110")
def test_compute_raises_the_remote_exception(client, out):
    with pytest.raises(ZeroDivisionError, match="^division by zero$") as caught:
        out.compute()
    frame = last_frame(caught.value)
    assert (frame.name, frame.line) == ("recip", "return 1 / x")
    assert frame.filename == __file__


@pytest.mark.seed("S3", "S49")
def test_remote_frames_have_no_variables(client, out):
    with pytest.raises(ZeroDivisionError) as caught:
        out.compute()
    assert "NameError" in debugger(caught.value, "p x")


@pytest.mark.seed("S5", "S6", "S7", "S9", "S10", "S50")
def test_single_threaded_scheduler_keeps_the_variables(client, out):
    with dask.config.set(scheduler="sync"), pytest.raises(ZeroDivisionError) as caught:
        out.compute()
    assert last_frame(caught.value).name == "recip"
    assert "(Pdb) 0" in debugger(caught.value, "p x")
    assert client.who_has() == {}  # nothing ran on the cluster


@pytest.fixture
def futures(client):
    futs1 = client.map(dec, INPUTS)
    futs2 = client.map(recip, futs1)
    fut3 = client.submit(sum, futs2)
    wait([*futs1, *futs2, fut3])
    return futs1, futs2, fut3


@pytest.mark.seed("S51", "S52", "S53", "S54", "S55", "S56")
def test_map_and_submit_keep_the_intermediates(client, futures):
    futs1, futs2, fut3 = futures
    with pytest.raises(ZeroDivisionError) as caught:
        client.gather(fut3)
    assert last_frame(caught.value).name == "recip"  # the sum has the error of its input

    assert [f.status for f in futs1] == ["finished"] * 7
    assert [f.status for f in futs2] == ["finished"] * 5 + ["error", "finished"]
    assert fut3.status == "error"
    assert {f.type for f in futs1} == {int}
    assert {f.type for f in futs2 if f.status == "finished"} == {float}
    assert futs1[2].key == futs1[4].key and len({f.key for f in futs1}) == 6
    held = {key for keys in client.has_what().values() for key in keys}
    assert {f.key for f in futs1} <= held
    assert futs1[5].result() == 0  # the input of the task that failed

    assert re.fullmatch(r"<Future: finished, type: int, key: dec-[0-9a-f]{32}>", repr(futs1[0]))
    assert re.fullmatch(r"<Future: error, key: recip-[0-9a-f]{32}>", repr(futs2[5]))


@pytest.mark.seed("S57", "S58")
def test_persisted_bag_of_two_maps(client):
    bag = db.from_sequence(INPUTS, npartitions=7)
    bag2 = client.persist(bag.map(dec).map(recip))
    with pytest.raises(ZeroDivisionError) as caught:
        bag2.sum().compute()
    assert last_frame(caught.value).name == "recip"
    statuses = [f.status for f in futures_of(bag2)]
    assert statuses.count("error") == 1


@pytest.mark.seed("S11", "S59", "S176")
def test_sync_scheduler_cannot_use_data_on_the_cluster(client):
    bag2 = client.persist(db.from_sequence([9, 4], npartitions=2).map(dec))
    wait(bag2)
    with dask.config.set(scheduler="sync"), pytest.raises(Exception):
        bag2.map(recip).sum().compute()


def recreate(client, future):
    """What recreate_error_locally raises, and the calls of our functions that it made here"""
    calls = []

    def trace(frame, event, arg):
        if event == "call" and frame.f_code.co_name in ("dec", "recip", "ratio"):
            calls.append((frame.f_code.co_name, dict(frame.f_locals)))

    sys.setprofile(trace)
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            client.recreate_error_locally(future)
    finally:
        sys.setprofile(None)
    return caught.value, calls


def check_recreated(error, calls):
    """Only the responsible task ran here, and a debugger sees its argument"""
    assert calls == [("recip", {"x": 0})]
    assert last_frame(error).name == "recip"
    assert "(Pdb) 0" in debugger(error, "p x")


@pytest.mark.seed("S13", "S14", "S15", "S60", "S61", "S62", "S63")
def test_recreate_error_of_a_collection(client):
    bag = db.from_sequence(INPUTS, npartitions=7)
    bag2 = client.persist(bag.map(dec).map(recip))
    future = client.compute(bag2.sum())
    wait(future)
    error, calls = recreate(client, future)
    assert last_frame(error).name == "recip"
    assert calls[-1] == ("recip", {"x": 0}) and len(calls) <= 2  # dec is fused with it
    assert "(Pdb) 0" in debugger(error, "p x")


STOCK_LOSES_RECREATE = "2026.8.0 fails on the pickled {} that its own client sends for the inputs"


@pytest.mark.seed("S13", "S60", "S61", "S62", "S64", "S177")
@pytest.mark.stock_broken(STOCK_LOSES_RECREATE)
@pytest.mark.timeout(30)
def test_recreate_error_of_delayed(client, out):
    future = client.compute(out, optimize_graph=False)
    wait(future)
    check_recreated(*recreate(client, future))


@pytest.mark.seed("S64")
@pytest.mark.stock_broken(STOCK_LOSES_RECREATE)
@pytest.mark.timeout(30)
def test_recreate_error_of_delayed_as_the_text_has_it(client, out):
    f = client.compute(out)
    error, calls = recreate(client, f)
    assert last_frame(error).name == "recip"
    assert "(Pdb) 0" in debugger(error, "p x")


@pytest.mark.seed("S65")
@pytest.mark.stock_broken(STOCK_LOSES_RECREATE)
@pytest.mark.timeout(30)
def test_recreate_error_of_map_and_submit(client, futures):
    futs1, futs2, fut3 = futures
    for _ in range(2):  # the first must not spoil the second
        check_recreated(*recreate(client, fut3))
    assert [f.status for f in futs1] == ["finished"] * 7
    assert futs1[0].result() == 8


@pytest.mark.seed("S135", "S136", "S137")
def test_exception_and_traceback_of_a_future(client):
    f = client.submit(lambda x: x / 0, 5)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        f.result()
    assert isinstance(f.exception(), ZeroDivisionError)
    assert isinstance(f.traceback(), types.TracebackType)
    assert traceback.extract_tb(f.traceback())[-1].name == "<lambda>"


@pytest.mark.seed("S138")
@pytest.mark.timeout(30)
def test_recreate_error_of_submit(client):
    f = client.submit(lambda x: x / 0, 5)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        client.recreate_error_locally(f)


@pytest.mark.seed("S171", "S172", "S173", "S174", "S175")
def test_ratio_is_named_as_the_origin(client):
    @delayed
    def ratio(a, b):
        return a // b

    out = delayed(sum)([ratio(a, b) for (a, b) in zip([5, 25, 30], [5, 5, 6])])
    f = client.compute(out)
    assert f.key.startswith("sum-")
    assert client.gather(f) == 11

    out = delayed(sum)([ratio(a, b) for (a, b) in zip([5, 25, 30], [5, 0, 6])])
    f = client.compute(out)
    for attempt in (lambda: client.gather(f), out.compute):
        with pytest.raises(ZeroDivisionError) as caught:
            attempt()
        frame = last_frame(caught.value)
        assert (frame.name, frame.line) == ("ratio", "return a // b")

    with dask.config.set(scheduler="sync"), pytest.raises(ZeroDivisionError) as caught:
        out.compute()
    assert "(Pdb) 25" in debugger(caught.value, "p a")


@pytest.mark.seed("S177")
@pytest.mark.timeout(30)
def test_recreate_error_of_ratio(client):
    @delayed
    def ratio(a, b):
        return a // b

    out = delayed(sum)([ratio(a, b) for (a, b) in zip([5, 25, 30], [5, 0, 6])])
    f = client.compute(out)
    error, calls = recreate(client, f)
    assert ("ratio", {"a": 25, "b": 0}) in calls
    assert "(Pdb) 25" in debugger(error, "p a")


def test_recreate_error_of_what_has_just_failed(client):
    """The client may still be told of the failure before, of a task of the same key that it has released"""
    for _ in range(20):
        x = delayed(lambda a: 1 / a)(0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                x.compute()
        future = client.compute(x)
        with pytest.raises(ZeroDivisionError):
            client.recreate_error_locally(future)
