"""The C pickle reader against stock's own pickles: what it cuts must load to what went in.

No cluster: graphs are pickled as a client pickles them, cut by build/test/support/pickle_probe, and
every piece is loaded here, compared with the task it was cut from, and run.
"""

import asyncio
import copy
import operator
import os
import pickle
import random
import struct
import subprocess
import traceback

import cloudpickle
import dask
import dask.array
import dask.bag
import msgpack
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from dask._expr import FinalizeCompute, HLGExpr, LLGExpr
from dask._task_spec import (
    Alias,
    DataNode,
    Dict,
    List,
    Set,
    Task,
    TaskRef,
    Tuple,
    convert_legacy_graph,
)
from dask.base import collections_to_expr
from dask.core import flatten
from distributed.client import Future, SourceCode, _MapExpr
from distributed.diagnostics import eventstream, progress, progress_stream, progressbar
from distributed.protocol.pickle import dumps
from distributed.protocol.serialize import serialize, to_serialize
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

import tasks
from harness import ROOT

PROBE = os.environ.get("CASK_PICKLE_PROBE", f"{ROOT}/build/test/support/pickle_probe")
DATA_PRODUCER, NOT_A_TASK = 1, 2
FACTOR = 3


class Probe:
    """The probe's process: blocks in, one msgpack value out"""

    def __init__(self):
        self.process = subprocess.Popen(
            [PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, *blocks):
        out = [struct.pack("<I", len(blocks))]
        for block in blocks:
            block = block.encode() if isinstance(block, str) else memoryview(block).cast("B")
            out += struct.pack("<Q", len(block)), block
        self.process.stdin.write(b"".join(out))
        self.process.stdin.flush()
        (size,) = struct.unpack("<Q", self.process.stdout.read(8))
        answer = self.process.stdout.read(size)
        return msgpack.unpackb(answer, use_list=False, strict_map_key=False)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def probe():
    if not os.path.exists(PROBE):
        pytest.skip(f"{PROBE} is not built")
    probe = Probe()
    yield probe
    probe.close()


def cut(probe, expr):
    _, frames = serialize(to_serialize(expr))
    return probe("cut", *frames)


def load(probe, expr):
    """Cut `expr`; {key: its node}, after comparing all that the scheduler was told about it"""
    answer = cut(probe, expr)
    assert "tasks" in answer, answer
    expected = convert_legacy_graph(expr.__dask_graph__())
    assert [task[0] for task in answer["tasks"]] == list(expected)
    nodes = {}
    for key, dependencies, flags, task, buffers in answer["tasks"]:
        node = pickle.loads(task, buffers=buffers)
        stock = expected[key]
        assert type(node) is type(stock)
        assert node.key == stock.key
        assert len(dependencies) == len(set(dependencies))
        assert set(dependencies) == stock.dependencies == node.dependencies
        assert bool(flags & DATA_PRODUCER) == stock.data_producer
        assert bool(flags & NOT_A_TASK) == isinstance(stock, DataNode)
        nodes[key] = node
    return nodes, expected


def compute(graph, key, cache):
    if key not in cache:
        node = graph[key]
        cache[key] = node({k: compute(graph, k, cache) for k in node.dependencies})
    return cache[key]


def same(a, b):
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a.equals(b) if isinstance(a, pd.DataFrame) else a == b


def check(probe, expr):
    """Cut `expr` and run both graphs"""
    nodes, expected = load(probe, expr)
    left, right = {}, {}
    for key in expected:
        assert same(compute(expected, key, left), compute(nodes, key, right)), key
    return nodes


def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1) * FACTOR // FACTOR


def collect(*args, **kwargs):
    return args, kwargs


class Adder:
    def __init__(self, amount):
        self.amount = amount

    def __call__(self, value):
        return self.amount + value


def by_value(function):
    """So that cloudpickle writes it out, as it does in a user's __main__"""
    function.__module__ = "__main__"
    return function


def even_and_odd():
    def even(n):
        return True if n == 0 else odd(n - 1)

    def odd(n):
        return False if n == 0 else even(n - 1)

    return even, odd


array = np.arange(5.0)
even, odd = even_and_odd()

GRAPHS = {
    "function": {"a": Task("a", tasks.inc, 1)},
    "lambda": {"a": Task("a", lambda x, y=2: x * y + FACTOR, 1)},
    "shared lambda": {
        key: Task(key, function, i)
        for function in [lambda x: x + FACTOR]
        for i, key in enumerate("abcdef")
    },
    "recursive": {"a": Task("a", by_value(factorial), 5), "b": Task("b", factorial, 3)},
    "each other": {"a": Task("a", even, 4), "b": Task("b", odd, 4)},
    "instance": {"a": Task("a", Adder(3), 4), "b": Task("b", Adder(3), TaskRef("a"))},
    "numpy": {
        "a": Task("a", np.add, array, array),
        "b": Task("b", np.add, TaskRef("a"), array[::2].repeat(2)[:5]),
        "c": Task("c", np.add, array, np.asfortranarray(np.ones((2, 5)))),
    },
    "pandas": {
        "a": Task("a", pd.DataFrame.copy, pd.DataFrame({"x": [1, 2], "y": ["p", "q"]})),
        "b": Task("b", len, Alias("a")),
    },
    "containers": {
        "a": Task("a", tasks.inc, 1),
        "b": Task("b", collect, List(Alias("a"), 2), k=Dict({"q": Alias("a"), "r": List(TaskRef("a"))})),
        "c": Task("c", collect, Tuple(Alias("a"), TaskRef("b")), Set(Alias("a"))),
        "d": List(1, Alias("a")),
        "e": Dict({"x": Alias("a"), "y": 1}),
    },
    "nodes": {
        "a": DataNode("a", {"k": [1, (2, 3), None, True, b"bytes", 1.5, 1 << 70]}),
        "b": Alias("b", "a"),
        "c": Task("c", operator.getitem, TaskRef("b"), "k"),
        "p": Task("p", tasks.inc, 1, _data_producer=True),
    },
    "keys": {
        key: Task(key, tasks.inc, 1)
        for key in ["é", "x" * 300, ("t", 0), ("t", ("u", -1)), 5, -70000, 1 << 40, 2.5, ("t", 0.5), ""]
    },
    "far dependencies": {f"k{i:02}": i for i in range(70)}
    | {"far": Task("far", collect, *(TaskRef(f"k{i}") for i in (69, "00", 35)))},
    "tuple dependencies": {
        ("x", 1): Task(("x", 1), tasks.inc, 1),
        ("x", 2): Task(("x", 2), tasks.add, TaskRef(("x", 1)), Alias(("x", 1))),
        5: Task(5, tasks.inc, TaskRef(("x", 2))),
    },
    "constants": {"a": 1, "b": "a", "c": [1, 2.5, "q", (None,)], "d": None, "e": b"a", "f": {"g": "a"}},
    "large": {
        key: Task(key, function, i)
        for function in [lambda x, data=list(range(5000)): x + len(data)]
        for i, key in enumerate("abcdef")
    },
    "none": {},
}


@pytest.mark.parametrize("name", GRAPHS)
def test_pieces_of_a_graph_are_its_tasks(probe, name):
    check(probe, LLGExpr(GRAPHS[name]))


def test_futures_are_dependencies_outside_the_graph(probe):
    graph = {
        "a": Task("a", tasks.add, Alias("f"), TaskRef(("g", 1))),
        "b": Task("b", sum, List(Alias("f"), Alias("f"))),
        "f": Alias("f"),
    }
    answer = cut(probe, LLGExpr(graph))
    assert [(task[0], set(task[1])) for task in answer["tasks"]] == [
        ("a", {"f", ("g", 1)}),
        ("b", {"f"}),
    ]
    assert answer["keys"] == 4


def test_a_large_shared_object_is_in_memory_once(probe):
    answer = cut(probe, LLGExpr(GRAPHS["large"]))
    sizes = [len(task[3]) for task in answer["tasks"]]
    assert max(sizes[1:]) < 200
    assert [len(task[4]) for task in answer["tasks"]] == [0, 1, 1, 1, 1, 1]


def test_functions_that_call_each_other_stay_one_pair(probe):
    nodes, _ = load(probe, LLGExpr({"a": Task("a", even, 2), "b": Task("b", collect, odd, even)}))
    odd2, even2 = nodes["b"].args
    assert odd2.__closure__[0].cell_contents is even2
    assert even2.__closure__[0].cell_contents is odd2


def shape_of(value, seen):
    """What can be told of a value: its contents, and which of its lists and dicts are the same"""
    if isinstance(value, (list, dict, set)):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
    if isinstance(value, dict):
        return ("dict", [(k, shape_of(v, seen)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [shape_of(v, seen) for v in value])
    return value if isinstance(value, set) else (type(value).__name__, value)


def random_objects(rng, count):
    """Lists and dicts that contain each other, themselves, and large ones"""
    made = [[] if rng.random() < 0.6 else {} for _ in range(count)]

    def item():
        choice = rng.random()
        if choice < 0.35:
            return rng.choice(made)
        if choice < 0.5:
            return (rng.choice(made), rng.randrange(9))
        if choice < 0.6:
            return f"text-{rng.randrange(20)}"
        if choice < 0.63:
            return list(range(rng.randrange(1500)))
        return rng.choice([None, True, 1, 2.5, b"bytes", "other", 1 << 40])

    for thing in made:
        for i in range(rng.randrange(5)):
            if isinstance(thing, list):
                thing.append(item())
            else:
                thing[f"k{i}"] = item()
    return made


@pytest.mark.parametrize("seed", range(150))
def test_sharing_within_a_task_survives(probe, seed):
    rng = random.Random(seed)
    made = random_objects(rng, rng.randrange(1, 12))
    graph = {
        f"k{i}": Task(f"k{i}", collect, *rng.choices(made, k=rng.randrange(4)))
        for i in range(rng.randrange(2, 9))
    }
    _, frames = serialize(to_serialize(LLGExpr(graph)))
    for key, _, _, task, buffers in probe("cut", *frames)["tasks"]:
        node = pickle.loads(task, buffers=buffers)
        assert shape_of(node.args, {}) == shape_of(graph[key].args, {}), key


def mapped(function, iterables, keys, **kwargs):
    return _MapExpr(function, tuple(iterables), "m", True, {}, kwargs, keys)


def keys_of(count):
    return [f"m-{i}" for i in range(count)]


MAPS = {
    "ints": mapped(operator.neg, [[1, 2, 3]], keys_of(3)),
    "two": mapped(operator.add, [[1, 2, 3], (4, 5, 6)], keys_of(3)),
    "range": mapped(operator.neg, [range(100000, -70, -33000)], keys_of(4)),
    "large range": mapped(operator.neg, [range(-(1 << 62), 1 << 62, 1 << 61)], keys_of(4)),
    "unequal": mapped(operator.add, [range(9), [1, 2]], keys_of(3)),
    "lambda": mapped(lambda x: x * FACTOR, [["a", None, 5.5, b""][2:3]], keys_of(1)),
    "kwargs": mapped(collect, [["a", None, (1, 2)]], keys_of(3), k=[1], f=operator.neg),
    "equal keys": mapped(collect, [[1, 2, 3, 4]], ["a", "b", "a", "c"]),
    "tuple keys": mapped(collect, [[1, 2]], [("a", 1), ("a", 2)]),
    "arrays": mapped(np.sum, [[np.arange(i) for i in range(4)]], keys_of(4)),
    "large lambda": mapped(lambda x, data=list(range(5000)): x + len(data), [range(4)], keys_of(4)),
    "shared argument": mapped(collect, [[[1], array, array]] * 2, keys_of(3), k=array),
    "nothing": mapped(operator.neg, [], []),
    "empty": mapped(operator.neg, [[]], []),
}


@pytest.mark.parametrize("name", MAPS)
def test_tasks_of_a_map_are_stocks(probe, name):
    check(probe, MAPS[name])


def test_a_map_of_futures_depends_on_them(probe):
    futures = [Future(key) for key in ("f", ("g", 0), "h")]
    expr = mapped(collect, [futures, futures, [1, futures[0], "x"]], keys_of(3), k=futures[2], n=1)
    nodes, expected = load(probe, expr)
    for key, node in nodes.items():
        values = {k: repr(k) for k in node.dependencies}
        assert node(values) == expected[key](values)
        assert node.args == expected[key].args
        assert node.kwargs == expected[key].kwargs


def test_a_map_larger_than_pickles_batches(probe):
    expr = mapped(operator.add, [list(range(5000)), range(5000)], keys_of(5000))
    nodes = check(probe, expr)
    assert len(nodes) == 5000


# ---- delayed ----


def sent(*collections, compute=True, **options):
    """What a client's compute (or persist) sends"""
    expr = collections_to_expr(collections, **options)
    return (FinalizeCompute(expr) if compute else expr).optimize()


def random_calls(seed):
    """Calls of functions of all kinds on each other's results; some of them are wanted"""
    rng = random.Random(seed)
    functions = [delayed(f, pure=False) for f in (collect, lambda *args: args, tasks.inc)]
    made = [functions[2](i) for i in range(rng.randrange(1, 9))]
    for _ in range(rng.randrange(40)):
        inputs = [rng.choice(made) for _ in range(rng.randrange(1, 4))]
        made.append(rng.choice(functions[:2])(*inputs, [rng.choice(inputs), {"k": 1}]))
    return rng.sample(made, min(len(made), rng.randrange(1, 5)))


text = delayed("abc", pure=True)
total = delayed(sum)([delayed(tasks.inc)(i) for i in range(200)])

DELAYED = {
    "one call": sent(delayed(tasks.inc)(1)),
    "calls into one": sent(total),
    "several wanted": sent(total, delayed(tasks.inc)(7)),
    "persisted": sent(total, text, compute=False),
    "not optimised": sent(total, optimize_graph=False),
    "methods and containers": sent(
        delayed(list)([text.upper(), text[1], {"a": text, "b": [text, 1]}, (text, 2), {3}])
    ),
    "several outputs": sent(*delayed(divmod, nout=2, pure=True)(7, 3)),
    "lambdas": sent(delayed(list)([delayed(lambda x, y=2: x * y + FACTOR)(i) for i in range(9)])),
    "arrays": sent(delayed(np.add)(delayed(array), array)),
    "collection among calls": sent(delayed(tasks.inc)(dask.array.ones(9, chunks=3).sum())),
    "future": sent(delayed(tasks.inc)(Future("f"))),
    "without a sequence": HLGExpr.from_collection(total),
} | {f"random {seed}": sent(*random_calls(seed)) for seed in range(40)}


def check_layers(probe, expr, culls=True):
    """The core keeps of the graph what the wanted keys reach, as delayed's optimizer does"""
    answer = cut(probe, expr)
    assert answer["cull"] == culls
    found = {task[0]: task for task in answer["tasks"]}
    expected = convert_legacy_graph(expr.__dask_graph__())
    reached, new = set(), set(flatten(expr.__dask_keys__())) & set(found)
    while new:
        reached |= new
        new = {k for key in new for k in found[key][1] if k in found} - reached
    assert set(expected) - {"f"} == (reached if culls else set(found))
    nodes = {}
    for key, stock in expected.items():
        if key in found:
            _, dependencies, flags, task, buffers = found[key]
            node = nodes[key] = pickle.loads(task, buffers=buffers)
            assert type(node) is type(stock) and node.key == stock.key
            assert set(dependencies) == stock.dependencies == node.dependencies
            assert bool(flags & DATA_PRODUCER) == stock.data_producer
            assert bool(flags & NOT_A_TASK) == isinstance(stock, DataNode)
    left, right = {"f": 1}, {"f": 1}
    for key in nodes:
        assert same(compute(expected, key, left), compute(nodes, key, right)), key


@pytest.mark.parametrize("name", DELAYED)
def test_delayed_calls_are_cut_into_stocks_tasks(probe, name):
    check_layers(probe, DELAYED[name], culls=name != "not optimised")


def annotated():
    with dask.annotate(priority=1):
        return delayed(tasks.inc)(1)


REFUSED = {
    "annotated call": sent(annotated()),
    "bag and call": sent(dask.bag.from_sequence([1]), delayed(tasks.inc)(1)),
    "array": sent(dask.array.ones(3, chunks=1)),
    "call in a tuple": LLGExpr({"a": (tasks.inc, 1)}),
    "key in a list": LLGExpr({"a": 1, "b": ["a"]}),
    "number keys beside constants": LLGExpr({"a": 1, 1: 2}),
    "object": LLGExpr({"a": Adder(1)}),
    "futures inside": mapped(sum, [[[Future("f")], [Future("g")]]], keys_of(2)),
    "array as iterable": mapped(operator.neg, [np.arange(3)], keys_of(3)),
    "text as iterable": mapped(operator.neg, ["abc"], keys_of(3)),
    "no keys": mapped(operator.neg, [[1]], None),
    "collection": dask.delayed(tasks.inc)(1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_python_is_refused_with_a_reason(probe, name):
    answer = cut(probe, REFUSED[name])
    assert answer["error"] == "UNSUPPORTED"
    assert answer["reason"]


def test_an_empty_dict_is_an_empty_graph(probe):
    answer = probe("cut", pickle.dumps({}))
    assert answer["tasks"] == ()


def foreign(probe, *values):
    graph = LLGExpr({"a": Task("a", collect, *values)}, _determ_token="token")  # as submit does
    return cut(probe, graph).get("foreign")


def test_names_that_workers_may_lack_are_told(probe):
    """A worker that cannot load a task dies of it; stock's scheduler would have refused it"""
    by_value(collect)
    assert foreign(probe, 1, operator.add, lambda x: x + FACTOR, even, Future("f")) == ()
    assert foreign(probe, tasks.inc, tasks.inc, tasks.dec) == (("tasks", "inc"), ("tasks", "dec"))
    names = foreign(probe, np.arange(3), pd.DataFrame({"x": [1]}))
    assert {name[0].split(".")[0] for name in names} >= {"numpy", "pandas"}
    assert foreign(probe, dask.array.from_array)[0][0].startswith("dask.array")
    assert cut(probe, mapped(tasks.inc, [[1]], ["a"]))["foreign"] == (("tasks", "inc"),)


def test_instances_whose_class_hooks_loading_need_python(probe):
    class Plain:
        def method(self):
            return self

    class Derived(Plain):
        pass

    class Hooked:
        def __setstate__(self, state):
            raise ValueError(state)

        def __getstate__(self):
            return 1

    by_value(collect)
    assert foreign(probe, Plain, Plain(), [Plain(), Plain().method], Hooked) == ()
    assert foreign(probe, Hooked()) is None
    assert foreign(probe, Derived()) is None  # the hook may be in a base


VALUES = [
    None,
    True,
    [1, -1, 255, 256, 65536, -(1 << 31), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)],
    {"priority": 10, "workers": ["tcp://1.2.3.4:5"], "retries": 3, "ratio": 0.5},
    {"span": {"name": ("a", "b"), "ids": ("x", "y")}},
    (b"bytes", "ä" * 300, [[[]]], {}, ()),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_become_msgpack(probe, value, protocol):
    expected = msgpack.unpackb(msgpack.packb(value), use_list=False, strict_map_key=False)
    if protocol == 2:  # has bytes only as a call
        value, expected = value[1:] if isinstance(value, tuple) else value, (
            expected[1:] if isinstance(value, tuple) else expected
        )
    assert probe("value", pickle.dumps(value, protocol=protocol)) == expected


def test_sets_and_source_code_have_a_form(probe):
    code = (SourceCode("x = 1", 3, 2, "f.py"), SourceCode("y", 1, 0, "g.py"))
    assert probe("value", dumps(code)) == (("x = 1", 3, 2, "f.py"), ("y", 1, 0, "g.py"))
    assert probe("value", dumps({"a": {1}})) == {"a": {"__Set__": True, "as-list": (1,)}}


@pytest.mark.parametrize("value", [1 << 64, lambda key: 1, {"a": np.float64(1)}, Adder(1)])
def test_other_values_are_refused(probe, value):
    assert probe("value", dumps(value)) == "unsupported"


def test_a_value_that_contains_itself_is_refused(probe):
    value = []
    value.append(value)
    assert probe("value", pickle.dumps(value)) == "unsupported"


def make(probe, name, *arguments):
    packed = [a if isinstance(a, (str, bytes)) else msgpack.packb(a) for a in arguments]
    made = probe("make", name, *packed)
    return pickle.loads(made)


def test_exceptions_load_as_stocks(probe):
    key = ("k", 1)
    for message in ("m", "ü" * 200):
        error = make(probe, "exception", message)
        assert type(error) is ValueError and error.args == (message,)
    error = make(probe, "killed_worker", key, "tcp://1.2.3.4:5", msgpack.packb("w"), "note")
    assert type(error) is KilledWorker
    assert error.task == key and error.allowed_failures == 3
    assert error.last_worker.address == "tcp://1.2.3.4:5" and error.last_worker.name == "w"
    assert "Attempted to run task ('k', 1) on 4 different workers" in str(error)
    assert error.__notes__ == ["note"]
    assert pickle.loads(pickle.dumps(error)).last_worker.address == "tcp://1.2.3.4:5"
    error = make(probe, "killed_worker", key, "tcp://1.2.3.4:5", msgpack.packb("w"), "", "it crashed: ü")
    assert isinstance(error, KilledWorker) and error.task == key and error.allowed_failures == 3
    for again in (error, copy.copy(error), cloudpickle.loads(cloudpickle.dumps(error))):
        assert str(again) == "it crashed: ü"
        assert "".join(traceback.format_exception_only(again)).endswith("KilledWorker: it crashed: ü\n")
    error = make(probe, "no_worker", key)
    assert type(error) is NoWorkerError and error.args == (key, 5.5)
    error = make(probe, "no_valid_worker", key, ["h"], ["tcp://x:1", "a"], {"GPU": 1.5})
    assert type(error) is NoValidWorkerError
    assert error.args == (key, {"h"}, {"tcp://x:1", "a"}, {"GPU": 1.5}, 5.5)
    assert "GPU" in str(error)
    error = make(probe, "future_cancelled", key, "reason", "")
    assert (error.key, error.reason, error.msg) == (key, "reason", None)


def test_small_objects_load_as_stocks(probe):
    assert make(probe, "key", ("x", (1, -2.5))) == ("x", (1, -2.5))
    assert make(probe, "future", msgpack.packb("k")).key == "k"
    assert make(probe, "attrgetter", "host")(SimpleHost()) == "h"
    assert type(make(probe, "shuffle_plugin")).__name__ == "ShuffleWorkerPlugin"
    value = {"a": [1, None, True, 2.5, b"b", (1 << 64) - 1, -(1 << 40)], ("t", 1): {}}
    assert make(probe, "value", value) == value
    packed = {"__Set__": True, "as-list": [1, [2, 3]]}
    assert make(probe, "value", packed) == {1, (2, 3)}


class SimpleHost:
    host = "h"


def test_a_shuffle_run_carries_its_spec(probe):
    from distributed.shuffle._rechunk import ArrayRechunkSpec

    spec = ArrayRechunkSpec(id="id", disk=True, new=((1, 2), (3,)), old=((3,), (3,)))
    made = probe(
        "make", "shuffle", pickle.dumps(spec), "span", msgpack.packb((0, 0)), "tcp://a:1",
        msgpack.packb((1, 0)), "tcp://b:1",
    )  # fmt: skip
    run = pickle.loads(made)
    assert run.spec == spec and run.id == "id"
    assert (run.run_id, run.span_id) == (7, "span")
    assert run.worker_for == {(0, 0): "tcp://a:1", (1, 0): "tcp://b:1"}
    assert probe("make", "shuffle", b"no pickle", "span") is None


def feed_of(monkeypatch, listen):
    """The message that a progress bar sends"""
    sent = {}

    class Comm:
        async def write(self, message, serializers=None):
            sent.update(message)
            raise EOFError

        def abort(self):
            pass

    async def connect(*args, **kwargs):
        return Comm()

    monkeypatch.setattr(progressbar, "connect", connect)
    with pytest.raises(EOFError):
        asyncio.run(listen())
    return sent


IS_NONE, SETUP, FUNCTION, MULTI_SETUP, MULTI_FUNCTION, ALL_SETUP = range(1, 7)
ATTRGETTER, SHUFFLE_PLUGIN = 12, 13


@pytest.mark.parametrize("complete", [True, False])
def test_progress_bars_are_recognised(probe, monkeypatch, complete):
    bar = progressbar.ProgressBar(["a", ("b", 1)], "tcp://x:1", complete=complete)
    sent = feed_of(monkeypatch, bar.listen)
    what, keys, *rest = probe("recognise", sent["setup"])
    assert (what, set(keys), rest) == (SETUP, {"a", ("b", 1)}, [complete, False, ""])
    assert probe("recognise", sent["function"])[0] == FUNCTION
    for group_by in ("prefix", "spans", len):
        bar = progressbar.MultiProgressBar(
            ["a"], "tcp://x:1", complete=complete, group_by=group_by
        )
        sent = feed_of(monkeypatch, bar.listen)
        answer = probe("recognise", sent["setup"])
        if group_by is len:
            assert answer == (0, None, False, False, "")
        else:
            assert answer == (MULTI_SETUP, ("a",), complete, group_by == "spans", "")
        assert probe("recognise", sent["function"])[0] == MULTI_FUNCTION


def test_other_functions_are_recognised(probe):
    known = [
        progress.AllProgress,
        progress_stream._counts,
        progress_stream._teardown,
        eventstream.EventStream,
        eventstream.swap_buffer,
        eventstream.teardown,
    ]
    for expected, function in enumerate(known, ALL_SETUP):
        assert probe("recognise", dumps(function))[0] == expected
    assert probe("recognise", dumps(None))[0] == IS_NONE
    what, *_, name = probe("recognise", dumps(operator.attrgetter("host")))
    assert (what, name) == (ATTRGETTER, "host")
    assert probe("recognise", make_plugin())[0] == SHUFFLE_PLUGIN
    for other in (len, lambda s: s, operator.attrgetter("a", "b"), 5):
        assert probe("recognise", cloudpickle.dumps(other))[0] == 0
    assert probe("recognise", b"")[0] == 0


def make_plugin():
    from distributed.shuffle._worker_plugin import ShuffleWorkerPlugin

    return pickle.dumps(ShuffleWorkerPlugin())


def test_damaged_pickles_are_refused(probe):
    """Every prefix, and bytes changed at random: an answer comes, whatever it is"""
    _, frames = serialize(to_serialize(LLGExpr(GRAPHS["containers"])))
    whole = bytes(frames[0])
    rng = random.Random(1)
    for size in range(1, len(whole), 7):
        assert "error" in probe("cut", whole[:size])
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        probe("cut", bytes(damaged))
