"""`python -m cask.executor`, driven through its protocol: running tasks, objects, errors, cancelling."""

from __future__ import annotations

import asyncio
import operator
import os
import pathlib
import pickle
import struct
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.sizeof import sizeof
from distributed import Reschedule, get_worker, secede
from distributed.core import clean_exception
from distributed.protocol import dumps
from distributed.protocol.serialize import Serialize

from executor_peer import Peer, channel, wait_for_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


EXTENSION = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve() / "src/exec/_native.abi3.so"


@pytest.fixture(scope="module", params=["extension", "python"])
def environment(request):
    """Of an executor with its C part, and of one without."""
    return {"CASK_EXECUTOR_EXTENSION": str(EXTENSION) if request.param == "extension" else ""}


@pytest.fixture(scope="module")
def shared(environment):
    peer = Peer(nthreads=2, environment=environment)
    assert peer.welcome.text == ""
    yield peer
    peer.close()


@pytest.fixture
def peer(shared):
    shared.events.clear()
    return shared


@pytest.fixture
def single(environment):
    """One of its own, with one thread."""
    peer = Peer(nthreads=1, environment=environment)
    yield peer
    peer.close()


def result_of(peer, handle):
    message = peer.wait(channel.DONE, channel.FAILED, handle=handle)
    assert message.op == channel.DONE, message.traceback_text
    return message


def error_of(peer, handle):
    message = peer.wait(channel.DONE, channel.FAILED, handle=handle)
    assert message.op == channel.FAILED
    return message


def has_extension():
    from cask.executor.native import native

    return native is not None


def test_who_does_the_work(peer, environment):
    """The C part if it is there, Python otherwise: all other tests here are about both"""
    done = result_of(peer, peer.run(Task("x", has_extension), small=True))
    assert peer.fetch(done.handle) == (environment["CASK_EXECUTOR_EXTENSION"] != "")


# ---- results ----


def test_done_says_what_stock_says(peer):
    before = time.time()
    handle = peer.run(Task("x", operator.add, 1, 2))
    done = result_of(peer, handle)
    assert done.nbytes == sizeof(3)
    assert pickle.loads(done.type) is int
    assert done.typename == "int"
    ledger = done.ledger
    assert before - 1 < ledger.prepared <= ledger.start <= ledger.stop < time.time() + 1
    assert ledger.rss_peak > 2**20
    assert done.payload == (b"", [])
    assert peer.fetch(handle) == 3


def test_none_and_local_classes(peer):
    done = result_of(peer, peer.run(Task("n", operator.setitem, {}, 1, 2)))
    assert pickle.loads(done.type) is None
    assert done.typename == "NoneType"
    done = result_of(peer, peer.run(Task("l", threading.Lock)))
    assert done.typename == "_thread.lock"


def test_inputs_live_and_put(peer):
    first = peer.run(Task("first", operator.add, 1, 2))
    result_of(peer, first)
    second = peer.put(("second", 0), 10)
    total = peer.run(
        Task("total", operator.mul, TaskRef("first"), TaskRef(("second", 0))), [first, second]
    )
    result_of(peer, total)
    assert peer.fetch(total) == 30
    alias = peer.run(Alias("alias", "total"), [total])
    result_of(peer, alias)
    assert peer.fetch(alias) == 30
    data = peer.run(DataNode("data", [1, 2]))
    result_of(peer, data)
    assert peer.fetch(data) == [1, 2]


def test_same_object_not_a_copy(peer):
    first = peer.run(Task("list", list, (1, 2)))
    result_of(peer, first)
    ids = [peer.run(Task(f"id-{i}", id, TaskRef("list")), [first]) for i in range(2)]
    for handle in ids:
        result_of(peer, handle)
    assert peer.fetch(ids[0]) == peer.fetch(ids[1])


def test_small_results_come_at_once(peer):
    handle = peer.run(Task("s", str.upper, "small"), small=True)
    done = result_of(peer, handle)
    value, frames = done.payload
    assert channel_loads(value, frames) == "SMALL"
    done = result_of(peer, peer.run(Task("b", str.__mul__, "x", 10000), small=True))
    assert done.payload == (b"", [])


@pytest.mark.parametrize("value", [0, 2**70, -1.5, True, None, "", "text", "\ud800"])
def test_small_results_are_what_is_sent_of_them_later(peer, value):
    """By a family of Dask's that a client without pickle takes, if there is one; with the result, and when asked"""
    for _ in range(2):
        handle = peer.run(DataNode("small", value), small=True)
        got, frames = result_of(peer, handle).payload
        assert channel_loads(got, frames) == value
        _, *expected = dumps(Serialize(value), serializers=("msgpack", "pickle"))
        assert bytes(frames[1]) == bytes(expected[1])
        assert peer.fetch(handle) == value


def channel_loads(value, frames):
    from distributed.protocol import loads

    return loads([value, *frames])


def test_large_arrays_go_through_segments_and_stay_writable(peer):
    array = np.arange(200_000, dtype="f8")
    source = peer.put("array", array)

    def change(x):
        x += 1  # in place
        return x.sum()

    changed = peer.run(Task("changed", change, TaskRef("array")), [source])
    result_of(peer, changed)
    assert peer.fetch(changed) == array.sum() + array.size
    doubled = peer.run(Task("doubled", np.multiply, array, 2))  # inside the spec
    result_of(peer, doubled)
    message = peer.export(doubled)
    assert message.fds == [] or len(message.fds) == 1
    value, frames = message.payload
    back = channel_loads(value, frames)
    np.testing.assert_array_equal(back, array * 2)
    assert back.flags.writeable


def test_more_than_a_shard(peer):
    """Frames over 64 MiB are split by Dask and joined without a copy."""
    size = 9 * 2**20
    handle = peer.run(Task("big", np.ones, size))
    result_of(peer, handle)
    back = peer.fetch(handle)
    assert back.shape == (size,)
    assert back.sum() == size
    peer.drop(handle)


def test_drop_forgets(peer):
    handle = peer.run(Task("gone", list, (1,)))
    result_of(peer, handle)
    peer.drop(handle)
    message = peer.export(handle)
    assert message.op == channel.EXPORT_FAILED
    assert message.typename == "KeyError"


def test_drop_after_run_keeps_the_inputs(peer):
    source = peer.put("source", 5)
    slow = peer.run(Task("slow", time.sleep, 0.2))
    slow2 = peer.run(Task("slow2", time.sleep, 0.2))
    user = peer.run(Task("user", operator.neg, TaskRef("source")), [source])
    peer.drop(source)
    for handle in (slow, slow2, user):
        result_of(peer, handle)
    assert peer.fetch(user) == -5


def test_unserialisable_result(peer):
    handle = peer.run(Task("lock", threading.Lock))
    result_of(peer, handle)
    message = peer.export(handle)
    assert message.op == channel.EXPORT_FAILED
    assert "lock" in message.exception_text


def test_asynchronous_tasks(peer):
    async def wait(x):
        await asyncio.sleep(0.05)
        return get_worker().name, x

    handles = [peer.run(Task(f"async-{i}", wait, i)) for i in range(5)]
    values = []
    for handle in handles:
        result_of(peer, handle)
        values.append(peer.fetch(handle))
    assert values == [("alice", i) for i in range(5)]


def test_asynchronous_error(peer):
    async def fail():
        raise ValueError("later")

    error = error_of(peer, peer.run(Task("async-fail", fail)))
    assert error.exception_text == "ValueError('later')"


# ---- errors ----


def divide(a, b):
    return a / b


def test_exception_and_traceback(peer):
    error = error_of(peer, peer.run(Task("div", divide, 1, 0)))
    kind, exception, trace = clean_exception(error.exception, error.traceback)
    assert kind is ZeroDivisionError
    assert str(exception) == "division by zero"
    frames = traceback.extract_tb(trace)
    assert frames[0].name == "divide"
    assert error.exception_text == "ZeroDivisionError('division by zero')"
    assert "in divide" in error.traceback_text
    assert "cask/executor" not in error.traceback_text
    assert error.typename == "ZeroDivisionError"


class Stubborn(ValueError):
    def __init__(self, message, lock):
        super().__init__(message, lock)
        self.lock = lock

    def __str__(self):
        return self.args[0]


def test_exception_that_cannot_be_pickled_keeps_its_type(peer):
    def fail():
        raise Stubborn("cannot travel", threading.Lock())

    error = error_of(peer, peer.run(Task("stubborn", fail)))
    kind, exception, trace = clean_exception(error.exception, error.traceback)
    assert kind.__name__ == "Stubborn"
    assert issubclass(kind, ValueError)
    assert str(exception) == "cannot travel"
    assert traceback.extract_tb(trace)[-1].name == "fail"
    assert error.typename.endswith("Stubborn")


def test_exception_with_cause(peer):
    def fail():
        try:
            {}["absent"]
        except KeyError as error:
            raise RuntimeError("outer") from error

    error = error_of(peer, peer.run(Task("cause", fail)))
    _, exception, _ = clean_exception(error.exception, error.traceback)
    assert isinstance(exception.__cause__, KeyError)


def test_long_texts_are_cut_as_stock_does(peer):
    def fail():
        raise ValueError("x" * 100_000)

    error = error_of(peer, peer.run(Task("long", fail)))
    _, exception, _ = clean_exception(error.exception, error.traceback)
    assert exception.args[0] == "Long error message"
    assert len(error.exception) < 20_000


def test_exception_that_drags_much_along(peer):
    def fail():
        error = KeyError("large")
        error.data = bytes(80 * 2**20)
        raise error

    error = error_of(peer, peer.run(Task("large-error", fail)))
    kind, exception, _ = clean_exception(error.exception, error.traceback)
    assert issubclass(kind, KeyError)
    assert "large" in str(exception)


def test_base_exception_is_a_failure(peer):
    class Odd(BaseException):
        pass

    def fail():
        raise Odd("odd")

    error = error_of(peer, peer.run(Task("odd", fail)))
    assert error.typename.endswith("Odd")


def test_spec_and_input_that_cannot_be_opened(peer):
    class Trap:
        def __reduce__(self):
            return divide, (1, 0)

    error = error_of(peer, peer.run(Task("trap", len, Trap())))
    assert error.typename == "ZeroDivisionError"
    source = peer.put("trap-input", Trap())
    user = peer.run(Task("user", len, TaskRef("trap-input")), [source])
    assert error_of(peer, user).typename == "ZeroDivisionError"


def test_missing_input(peer):
    error = error_of(peer, peer.run(Task("lost", len, TaskRef("nobody")), [999_999]))
    assert error.typename == "KeyError"


def test_reschedule(peer):
    def fail():
        raise Reschedule

    handle = peer.run(Task("elsewhere", fail))
    assert peer.wait(channel.RESCHEDULE, channel.FAILED, handle=handle).op == channel.RESCHEDULE


@pytest.mark.parametrize("code, status", [(3, 3), (None, 0), ("why", 1)])
def test_sys_exit_ends_the_executor(single, code, status):
    single.run(Task("exit", sys.exit, code))
    assert single.process.wait(30) == status


# ---- order, threads ----


def test_tasks_begin_in_order(single):
    order = []

    def note(i):
        get_worker().order = [*getattr(get_worker(), "order", []), i]
        return get_worker().order

    handles = [single.run(Task(f"n{i}", note, i)) for i in range(20)]
    for handle in handles:
        result_of(single, handle)
    order = single.fetch(handles[-1])
    assert order == list(range(20))


def test_nthreads_at_a_time(peer):
    barrier_name = "cask_test_barrier"

    def meet():
        worker = get_worker()
        with worker._lock:
            barrier = worker.__dict__.setdefault(barrier_name, threading.Barrier(2))
        barrier.wait(30)
        return threading.get_ident()

    handles = [peer.run(Task(f"meet-{i}", meet)) for i in range(2)]
    idents = set()
    for handle in handles:
        done = result_of(peer, handle)
        idents.add(done.ledger.thread)
    assert len(idents) == 2


def test_board_shows_what_runs(peer, tmp_path):
    handle = peer.run(Task("long", wait_for_file, str(tmp_path / "go")))
    peer.wait_until_running(handle)
    (tmp_path / "go").touch()
    result_of(peer, handle)
    peer.wait_until_idle()


def test_secede_frees_the_slot(single):
    def long():
        secede()
        while not hasattr(get_worker(), "released"):
            time.sleep(0.01)
        return "done"

    def release():
        get_worker().released = True

    slow = single.run(Task("slow", long))
    seceded = single.wait(channel.SECEDED)
    quick = single.run(Task("quick", release))
    assert seceded.handle == slow
    assert 0 <= seceded.seconds < 60
    result_of(single, quick)
    result_of(single, slow)


def test_rejoin(single):
    from distributed import rejoin

    def there_and_back():
        secede()
        rejoin()
        return threading.get_ident()

    handle = single.run(Task("back", there_and_back))
    result_of(single, handle)
    again = single.run(Task("again", threading.get_ident))
    result_of(single, again)


# ---- cancelling ----


def test_cancel_before_it_begins(single, tmp_path):
    busy = single.run(Task("busy", wait_for_file, str(tmp_path / "go")))
    waiting = single.run(Task("waiting", operator.add, 1, 1))
    single.cancel(waiting)
    message = single.wait(channel.CANCELLED, channel.DONE)
    assert (message.op, message.handle, message.had_begun) == (channel.CANCELLED, waiting, 0)
    (tmp_path / "go").touch()
    result_of(single, busy)
    after = single.run(Task("after", operator.add, 1, 1))
    result_of(single, after)


def test_recall_what_has_not_begun(single, tmp_path):
    busy = single.run(Task("busy", wait_for_file, str(tmp_path / "go")))
    waiting = single.run(Task("waiting", operator.add, 1, 1))
    single.wait_until_running(busy)
    single.recall(busy)
    single.recall(waiting)
    message = single.wait(channel.CANCELLED, channel.DONE)
    assert (message.op, message.handle, message.had_begun) == (channel.CANCELLED, waiting, 0)
    (tmp_path / "go").touch()
    result_of(single, busy)


def spin():
    while True:
        time.sleep(0.001)


def started_spinning(peer, key):
    handle = peer.run(Task(key, spin))
    peer.wait_until_running(handle)
    return handle


def test_cancel_a_running_task(single):
    handle = started_spinning(single, "spin")
    single.cancel(handle)
    message = single.wait(channel.CANCELLED, channel.DONE, channel.FAILED)
    assert (message.op, message.handle, message.had_begun) == (channel.CANCELLED, handle, 1)
    after = single.run(Task("after", operator.add, 1, 1))
    result_of(single, after)
    single.wait_until_idle()


SLOW_MODULE = """
import pathlib, time
here = pathlib.Path(__file__).parent
with open(here / "imports", "a") as file:
    file.write("x")
while not (here / "go").exists():
    time.sleep(0.001)
import slow_package.part
"""


def test_cancel_lets_an_import_end(single, tmp_path):
    """Interrupted, it would leave a package without its parts: every later task would fail"""
    package = tmp_path / "slow_package"
    package.mkdir()
    (package / "__init__.py").write_text(SLOW_MODULE)
    (package / "part.py").write_text("answer = 42")

    def use(path, done):
        if path not in sys.path:
            sys.path.insert(0, path)
        import slow_package

        open(done, "w").close()
        while not os.path.exists(f"{path}/end"):
            time.sleep(0.001)
        return slow_package.part.answer

    first = single.run(Task("first", use, str(tmp_path), str(tmp_path / "imported")))
    wait_for_file(str(package / "imports"))
    single.cancel(first)
    (package / "go").touch()
    message = single.wait(channel.CANCELLED, channel.DONE, channel.FAILED)
    assert (message.op, message.handle) == (channel.CANCELLED, first)
    (tmp_path / "end").touch()
    second = single.run(Task("second", use, str(tmp_path), str(tmp_path / "again")))
    result_of(single, second)
    assert single.fetch(second) == 42
    assert (package / "imports").read_text() == "x"


def test_timeout_fails_the_task(single):
    handle = started_spinning(single, "late")
    single.cancel(handle, timeout_reason="it ran longer than 1 s")
    error = error_of(single, handle)
    assert error.typename == "TimeoutError"
    assert "it ran longer than 1 s" in error.exception_text


def test_cancel_an_asynchronous_task(single):
    async def forever():
        await asyncio.sleep(1000)

    handle = single.run(Task("forever", forever))
    single.wait_until_running(handle, flags=2)
    single.cancel(handle)
    assert single.wait(channel.CANCELLED, channel.FAILED).op == channel.CANCELLED
    assert result_of(single, single.run(Task("after", abs, -1))).nbytes == 28


def test_cancel_a_finished_task_is_ignored(single):
    handle = single.run(Task("quick", abs, -1))
    result_of(single, handle)
    single.cancel(handle)
    assert single.fetch(handle) == 1


def test_cancels_at_random_moments(single):
    """Whatever the moment, one answer a task comes, and the executor goes on."""

    def brief():
        for _ in range(200):
            pass

    answers = {}
    for i in range(300):
        handle = single.run(Task(f"brief-{i}", brief))
        for _ in range(i % 40):
            pass
        single.cancel(handle)
        message = single.wait(channel.DONE, channel.CANCELLED)
        assert message.handle == handle
        answers[message.op] = answers.get(message.op, 0) + 1
    assert sum(answers.values()) == 300
    result_of(single, single.run(Task("after", abs, -1)))


# ---- ledger, output ----


@pytest.mark.parametrize("held", [0, 300 * 2**20], ids=["small_parent", "large_parent"])
def test_ledger_counts(held, request):
    """also of an executor whose parent held much: exec inherits the parent's peak"""
    block = bytearray(held)
    single = Peer(nthreads=1)
    request.addfinalizer(single.close)
    del block

    def work():
        block = bytearray(64 * 2**20)
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
        return len(block)

    done = result_of(single, single.run(Task("work", work)))
    assert done.ledger.cpu_user + done.ledger.cpu_system >= 0.09
    assert done.ledger.rss_growth > 10 * 2**20
    assert done.ledger.faults_minor > 0  # huge pages make them few
    small = result_of(single, single.run(Task("small", len, b"")))
    assert small.ledger.rss_growth < 10 * 2**20
    assert small.ledger.rss_peak > 64 * 2**20


def test_metrics_of_user_code(peer):
    def metered():
        from distributed.metrics import context_meter

        for n in (1, 2):
            context_meter.digest_metric("shards", n, "count")

    done = result_of(peer, peer.run(Task("metered", metered)))
    assert ("shards", 3, "count") in done.ledger.metrics


def test_output_belongs_to_the_task(peer):
    def talk(i):
        print("out", i)
        print("err", i, file=sys.stderr)

    handles = [peer.run(Task(f"talk-{i}", talk, i)) for i in range(2)]
    for handle in handles:
        result_of(peer, handle)
    for i, handle in enumerate(handles):
        assert printed(peer, handle, 1) == f"out {i}\n"
        assert printed(peer, handle, 2) == f"err {i}\n"


def printed(peer, handle, stream):
    """What OUTPUT said of a task, put together"""
    told = [m for m in peer.events if m.op == channel.OUTPUT and (m.handle, m.stream) == (handle, stream)]
    text = "".join(m.text for m in told)
    assert told[-1].size == len(text)
    return text


def test_lines_are_told_at_once(peer, tmp_path):
    """What was printed before a crash is known"""
    gate = tmp_path / "gate"

    def talk(gate):
        print("first")
        print("no line yet", end="")
        while not os.path.exists(gate):
            time.sleep(0.01)

    handle = peer.run(Task("talk", talk, str(gate)))
    first = peer.wait(channel.OUTPUT, handle=handle)
    assert first.text == "first\n"
    peer.events.append(first)
    gate.touch()
    result_of(peer, handle)
    assert printed(peer, handle, 1) == "first\nno line yet"


def test_much_output_is_told_in_pieces(peer):
    def talk():
        for i in range(5000):
            sys.stdout.write(f"{i:>99}\n")

    handle = peer.run(Task("talkative", talk))
    result_of(peer, handle)
    assert printed(peer, handle, 1) == "".join(f"{i:>99}\n" for i in range(5000))
    assert sum(m.op == channel.OUTPUT for m in peer.events) < 700


def test_interrupted_while_it_prints(peer):
    """The interruption falls between two messages, never into one"""

    def talk():
        while True:
            print("again and again")

    for _ in range(20):
        handle = peer.run(Task("talk", talk))
        peer.wait(channel.OUTPUT, handle=handle)
        peer.cancel(handle)
        peer.wait(channel.CANCELLED, handle=handle)
    result_of(peer, peer.run(Task("after", int, "7")))


def test_forked_children_tell_nothing(peer):
    def talk():
        child = os.fork()
        if child == 0:
            print("from the child")
            os._exit(0)
        os.waitpid(child, 0)
        print("from the task")

    handle = peer.run(Task("talk", talk))
    result_of(peer, handle)
    assert printed(peer, handle, 1) == "from the task\n"


# ---- the other end goes, or is odd ----


def test_a_crash_leaves_python_frames(single):
    import ctypes

    handle = single.run(Task("crash", ctypes.string_at, 16))
    assert single.process.wait(30) == -11
    log = os.pread(single.crash_log, 100_000, 0).decode()
    assert "Fatal Python error: Segmentation fault" in log
    assert "string_at" in log
    assert single.running() == [(handle, 0)]


def test_it_ends_with_its_worker(single):
    single.run(Task("forever", time.sleep, 1000))
    single.socket.close()
    assert single.process.wait(30) == 0


def test_exit_tears_plugins_down(single, tmp_path):
    path = str(tmp_path / "torn")

    from distributed import WorkerPlugin

    class Plugin(WorkerPlugin):
        def teardown(self, worker):
            open(path, "w").close()

    import cloudpickle

    assert single.call("plugin-add", plugin=cloudpickle.dumps(Plugin()))["status"] == "OK"
    single.send(channel.EXIT, 0, [])
    assert single.process.wait(30) == 0
    assert os.path.exists(path)


def test_unknown_message_ends_it(single):
    single.send(999, 0, [struct.pack("<I", 0)])
    assert single.process.wait(30) == 1
