"""The planner's graphs against stock's own materialisation of the same expressions."""

import operator
import pickle
import sys
import threading
import time
from contextlib import closing

import dask
import numpy as np
import pytest
from dask import delayed
from dask._expr import FinalizeCompute, HLGExpr, LLGExpr, _HLGExprSequence
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.base import collections_to_expr
from dask.core import istask
from dask.delayed import Delayed, single_key
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from distributed.client import SourceCode
from distributed.protocol import deserialize, serialize, to_serialize
from distributed.protocol.serialize import Serialized
from distributed.scheduler import _materialize_graph

from planner_peer import PYTHON_ROOT, Planner, numbers
from test_pickle_cut import Probe

sys.path.insert(0, PYTHON_ROOT)
from cask.planner import prewarm  # noqa: E402
from cask.planner.cull import cull  # noqa: E402
from cask.planner.whole import WHOLE_TASKS_MAX  # noqa: E402


@pytest.fixture(scope="module")
def planner():
    planner = Planner()
    yield planner
    planner.close()


def low_level(tasks):
    """What Client.get sends; some of the values here cannot be tokenized."""
    return LLGExpr(tasks, _determ_token="test")


def client_expression(*collections, compute=True):
    """What a client's compute (or persist) sends."""
    expr = collections_to_expr(collections, True)
    if compute:
        expr = FinalizeCompute(expr)
    return expr.optimize()


def stock_graph(expression):
    """What stock's scheduler makes of the same bytes."""
    header, frames = serialize(to_serialize(expression), on_error="raise")
    return _materialize_graph(deserialize(header, frames), validate=True)


def content(node):
    """Something equal for equal nodes, whatever order their sets and pickles have."""
    if isinstance(node, (DataNode, Alias)):
        return type(node), node.key, tokenize(node)
    return type(node), node.key, tokenize((node.func, node.args, node.kwargs))


def check_same(planner, expression):
    expected, annotations = stock_graph(expression)
    graph = planner.materialise(expression)
    assert not isinstance(graph, dict), graph["error"]["traceback_text"]
    assert graph.cull == isinstance(expression, LLGExpr)
    tasks = graph.tasks()
    assert set(tasks) == set(expected)
    assert graph.dependencies() == {key: set(node.dependencies) for key, node in expected.items()}
    for key, flags in zip(graph.keys, graph.flags):
        node = expected[key]
        assert bool(flags & 1) == bool(node.data_producer), key
        assert bool(flags & 2) == (not istask(node)), key
        assert type(tasks[key]) is type(node)
    by_key = {}
    for name, of_key in annotations.items():
        for key, value in of_key.items():
            if value is not None and key in expected:
                by_key.setdefault(key, {})[name] = value
    plain = {k: {n: listed(v) for n, v in a.items()} for k, a in graph.annotations().items()}
    assert plain == {k: {n: listed(v) for n, v in a.items()} for k, a in by_key.items()}
    return graph, expected


def listed(value):
    return list(value) if isinstance(value, (list, tuple)) else value


def check_equal_tasks(planner, expression):
    graph, expected = check_same(planner, expression)
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        for key, node in graph.tasks().items():
            assert content(node) == content(expected[key]), key


def inc(x):
    return x + 1


# ---- delayed ----


def test_delayed_tree(planner):
    x = [delayed(operator.neg)(i) for i in range(100)]
    while len(x) > 1:
        x = [delayed(operator.add)(a, b) for a, b in zip(x[::2], x[1::2] + x[:1] * (len(x) % 2))]
    check_equal_tasks(planner, client_expression(x[0]))


def test_delayed_wide(planner):
    calls = [delayed(operator.neg)(i) for i in range(50)]
    check_equal_tasks(planner, client_expression(delayed(sum)(calls)))


def test_delayed_several_outputs_with_common_inputs(planner):
    shared = delayed(operator.neg)(1)
    outs = [delayed(operator.add)(shared, i) for i in range(5)]
    check_equal_tasks(planner, client_expression(*outs))
    check_equal_tasks(planner, client_expression(*outs, compute=False))


def test_delayed_fused(planner):
    """With optimization.fuse.delayed the graph is one layer when it is culled."""
    chain = delayed(operator.neg)(1)
    for _ in range(20):
        chain = delayed(operator.neg)(chain)
    expression = client_expression(chain)
    with closing(Planner(env={"DASK_OPTIMIZATION__FUSE__DELAYED": "True"})) as other:
        graph = other.materialise(expression)
        with dask.config.set({"optimization.fuse.delayed": True}):
            expected, _ = stock_graph(expression)
        assert set(graph.tasks()) == set(expected)
        assert len(expected) == 1


def test_delayed_methods_attributes_containers(planner):
    text = delayed("abc")
    values = [text.upper(), text[1], {"a": text, "b": [text, 1]}, (text, 2), {3}]
    check_equal_tasks(planner, client_expression(delayed(list)(values)))


def test_delayed_nout_and_pure(planner):
    a, b = delayed(divmod, nout=2, pure=True)(7, 3)
    check_equal_tasks(planner, client_expression(a, b, delayed(operator.add)(a, b)))


def test_functions_of_main_work_alike(planner):
    """Closures, recursion, defaults and lambdas come by value, from one pickle a function."""
    scale = 3

    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)

    def scaled(x, offset=2):
        return x * scale + offset

    calls = [delayed(fact)(5), delayed(scaled)(4), delayed(lambda x: x + scale)(1)] * 3
    expression = client_expression(delayed(list)(calls))
    graph, expected = check_same(planner, expression)
    mine, theirs = graph.tasks(), expected
    for key, node in mine.items():
        if not node.dependencies:
            assert node({}) == theirs[key]({})


def test_function_with_shared_mutable_state_keeps_sharing(planner):
    """A list that is both in a closure and an argument stays one list."""
    shared = []

    def remember(x):
        x.append(1)
        return len(shared)

    graph, _ = check_same(planner, client_expression(delayed(remember, traverse=False)(shared)))
    (node,) = [n for n in graph.tasks().values() if isinstance(n, Task)]
    assert node({k: graph.tasks()[k]({}) for k in node.dependencies}) in (0, 1)
    direct = low_level({"k": Task("k", remember, shared)})
    graph, _ = check_same(planner, direct)
    assert graph.tasks()["k"]({}) == 1


def test_large_closure_travels_once(planner):
    table = tuple(range(20_000))

    def look(i):
        return table[i]

    graph, _ = check_same(planner, client_expression(*[delayed(look)(i) for i in range(50)]))
    assert len(graph.buffers) == 1
    assert sum(len(spec) for spec, _ in graph.specs) < 50_000
    assert sorted(node({}) for node in graph.tasks().values()) == list(range(50))


def test_shared_array_travels_once(planner):
    array = np.arange(100_000)
    dsk = {f"s-{i}": Task(f"s-{i}", np.sum, array) for i in range(10)}
    graph, _ = check_same(planner, low_level(dsk))
    assert [len(b) for b in graph.buffers] == [800_000]
    assert all(node({}) == array.sum() for node in graph.tasks().values())


# ---- low-level graphs ----


def test_legacy_tuples_aliases_and_data(planner):
    dsk = {
        "a": 1,
        "b": (operator.add, "a", 2),
        ("c", 0): (sum, ["a", "b", ("d", 1)]),
        ("d", 1): "b",
        "e": {"x": 1},
        7: (operator.neg, ("c", 0)),
        2.5: [1, 2],
    }
    check_equal_tasks(planner, low_level(dsk))


def test_dependencies_outside_the_graph(planner):
    dsk = {"a": Task("a", operator.add, TaskRef("elsewhere"), TaskRef(("t", 1))), "b": Alias("b")}
    graph, _ = check_same(planner, low_level(dsk))
    assert graph.keys[0] == "a" and set(graph.keys[1:]) == {"elsewhere", ("t", 1)}


def test_numpy_integers_in_keys(planner):
    key = ("x", np.int64(3))
    graph = planner.materialise(low_level({key: Task(key, operator.neg, 1)}))
    assert graph.keys == [("x", 3)]


def test_empty_graphs(planner):
    """Stock's recreate_error_locally sends a bare dict."""
    graph = planner.materialise({})
    assert graph.cull and graph.keys == []
    check_same(planner, low_level({}))


# ---- collections ----


def test_arrays(planner):
    import dask.array as da

    x = da.ones((40, 40), chunks=(10, 10))
    for y in (
        x.sum(),
        (x + x.T).mean(axis=0),
        x[::2, 5:].rechunk((7, 9)),
        da.concatenate([x, x]).std(),
        x.map_overlap(lambda b: b, depth=1),
        da.from_array(np.random.default_rng(0).random((20, 20)), chunks=5)[3:, ::2].dot(
            da.ones((10, 3), chunks=5)
        ),
        x.cumsum(axis=0),
    ):
        check_same(planner, client_expression(y))
        check_same(planner, client_expression(y, compute=False))


def test_arrays_fused_by_chance(planner):
    """What stock fuses here depends on its hash seed; the values must not."""
    import dask.array as da

    expression = client_expression(da.linalg.qr(da.arange(160.0, chunks=40).reshape(40, 4))[1])
    expected, _ = stock_graph(expression)
    (key,) = expression.__dask_keys__()
    np.testing.assert_array_equal(
        dask.get(planner.materialise(expression).tasks(), key), dask.get(expected, key)
    )


def test_bags(planner):
    import dask.bag as db

    bag = db.from_sequence(range(100), npartitions=10)
    for b in (
        bag.map(inc).sum(),
        bag.filter(lambda x: x % 2).frequencies(),
        bag.groupby(lambda x: x % 3),
        bag.fold(operator.add),
        bag.map(lambda x: {"a": x}).pluck("a").topk(3),
    ):
        check_same(planner, client_expression(b))


def test_dataframes(planner):
    pd = pytest.importorskip("pandas")
    import dask.dataframe as dd

    frame = pd.DataFrame({"a": range(100), "b": [i % 7 for i in range(100)], "c": ["x", "y"] * 50})
    df = dd.from_pandas(frame, npartitions=5)
    for d in (
        df.a.sum(),
        df.groupby("b").a.mean(),
        df[df.a > 3].assign(d=df.a * 2).describe(),
        df.merge(df, on="b", shuffle_method="tasks"),
        df.set_index("a", sorted=True).loc[3:50],
        df.map_partitions(lambda p: p.head(2)),
        df.rename(columns={"a": "z"}).drop_duplicates(),
    ):
        check_same(planner, client_expression(d))


def test_xarray(planner):
    xr = pytest.importorskip("xarray")

    data = xr.DataArray(np.arange(400.0).reshape(20, 20), dims=("x", "y")).chunk({"x": 5, "y": 10})
    dataset = xr.Dataset({"a": data, "b": data * 2})
    check_same(planner, client_expression(dataset.mean("x")))
    check_same(planner, client_expression(data.rolling(x=3).mean()))


def test_mixed_collections(planner):
    import dask.array as da
    import dask.bag as db

    check_same(
        planner,
        client_expression(
            da.ones(10, chunks=5).sum(), db.from_sequence(range(4)).sum(), delayed(operator.neg)(1)
        ),
    )


def test_p2p_shuffle_rows(planner):
    """A barrier's row says what the scheduler needs to run the shuffle."""
    pd = pytest.importorskip("pandas")
    import dask.dataframe as dd

    df = dd.from_pandas(pd.DataFrame({"a": range(40), "b": range(40)}), npartitions=4)
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        expression = client_expression(df.shuffle("a", npartitions=3))
        graph, expected = check_same(planner, expression)
    (row,) = graph.shuffles
    assert graph.flags[row["task"]] & 4
    key = graph.keys[row["task"]]
    assert key == "shuffle-barrier-" + row["id"]
    spec = pickle.loads(row["spec"])
    assert spec.id == row["id"] == expected[key].spec.id
    assert not row["is_array"]
    assert row["npartitions"] == spec.npartitions
    assert [numbers_of(p) for p in row["parts"]] == list(spec.output_partitions)


def numbers_of(part):
    import msgpack

    value = msgpack.unpackb(part)
    return tuple(value) if isinstance(value, list) else value


def test_p2p_rechunk_rows(planner):
    import dask.array as da

    with dask.config.set({"array.rechunk.method": "p2p"}):
        x = da.ones((20, 20), chunks=(20, 2)).rechunk((2, 20))
        graph, expected = check_same(planner, client_expression(x))
    assert graph.shuffles
    for row in graph.shuffles:
        spec = expected[graph.keys[row["task"]]].spec
        assert row["is_array"] and row["axis_lengths"] == tuple(len(c) for c in spec.new)
        assert [numbers_of(p) for p in row["parts"]] == list(spec.output_partitions)


# ---- as one pickle, which is cut in C ----


@pytest.fixture(scope="module")
def whole():
    planner = Planner()
    planner.as_arrays = False
    yield planner
    planner.close()


@pytest.fixture(scope="module")
def probe():
    probe = Probe()
    yield probe
    probe.close()


def collections_of_all_kinds():
    import dask.array as da
    import dask.bag as db

    x = da.ones((40, 40), chunks=(10, 10))
    numbers = np.random.default_rng(0).random((20, 20))
    yield x.sum(), (x + x.T).mean(axis=0)
    yield (da.from_array(numbers, chunks=5)[3:, ::2].dot(da.ones((10, 3), chunks=5)),)
    bag = db.from_sequence(range(100), npartitions=10)
    yield (bag.map(lambda x: {"a": x + FACTOR}).pluck("a").topk(3),)
    yield bag.frequencies(), delayed(operator.neg)(x.sum())
    pd = pytest.importorskip("pandas")
    import dask.dataframe as dd

    df = dd.from_pandas(pd.DataFrame({"a": range(100), "b": [i % 7 for i in range(100)]}), npartitions=5)
    yield (df.merge(df.groupby("b").a.mean().reset_index(), on="b", shuffle_method="tasks"),)


FACTOR = 3


def test_tasks_cut_out_of_a_pickle_are_stocks(whole, probe):
    for collections in collections_of_all_kinds():
        expression = client_expression(*collections)
        expected, _ = stock_graph(expression)
        answer = probe("cut", *whole.materialise(expression))
        assert {task[0] for task in answer["tasks"]} == set(expected)
        for key, dependencies, flags, task, buffers in answer["tasks"]:
            stock = expected[key]
            assert set(dependencies) == set(stock.dependencies)
            assert bool(flags & 1) == bool(stock.data_producer)
            assert bool(flags & 2) == (not istask(stock))
            node = pickle.loads(task, buffers=buffers)
            assert type(node) is type(stock) and node.key == stock.key
            assert node.dependencies == stock.dependencies


def test_a_shared_array_is_in_the_pickle_once(whole):
    import dask.array as da

    array = np.arange(100_000)
    blocks = [da.from_array(np.ones(4), chunks=2).map_blocks(lambda b, a: b + a.sum(), array) for _ in range(2)]
    content, *buffers = whole.materialise(client_expression(*blocks))
    assert [len(buffer) for buffer in buffers if len(buffer) > 1000] == [800_000]
    assert len(content) < 20_000


def test_what_goes_as_arrays(whole):
    """Graphs that the reader in C has refused before, or would, or that it must not get at once"""
    import dask.array as da

    assert not isinstance(whole.materialise(low_level({"a": Task("a", operator.neg, 1)})), list)
    with dask.annotate(priority=1):
        annotated = delayed(operator.neg)(1)
    assert not isinstance(whole.materialise(client_expression(annotated)), list)
    with dask.config.set({"array.rechunk.method": "p2p"}):
        shuffled = da.ones((20, 20), chunks=(20, 2)).rechunk((2, 20))
    assert whole.materialise(client_expression(shuffled)).shuffles
    count = WHOLE_TASKS_MAX + 1
    many = HLGExpr(dsk=HighLevelGraph({"m": MaterializedLayer({i: DataNode(i, i) for i in range(count)})}, {"m": set()}))
    assert len(whole.materialise(many).keys) == count


def test_a_task_that_cannot_be_pickled_is_named(whole):
    class Once:
        def __reduce__(self):
            return threading.Lock, ()

        def __dask_tokenize__(self):
            return "Once"

    import dask.bag as db

    reply = whole.materialise(client_expression(db.from_sequence([Once()], npartitions=1).map(id)))
    assert isinstance(pickle.loads(reply["error"]["exception"]), TypeError)


# ---- annotations, code, metadata ----


def test_layer_annotations(planner):
    import dask.array as da

    with dask.annotate(priority=3, resources={"GPU": 1}):
        x = da.ones(10, chunks=5)
    with dask.annotate(workers=["alice"], retries=2):
        y = delayed(operator.neg)(1)
    graph, _ = check_same(planner, client_expression(y))
    assert graph.annotation_sets == [{"workers": ("alice",), "retries": 2}]
    expression = client_expression(x + 1)
    with closing(Planner(env={"DASK_OPTIMIZATION__FUSE__ACTIVE": "False"})) as unfused:
        with dask.config.set({"optimization.fuse.active": False}):
            check_same(unfused, expression)


def test_global_annotations_with_callables(planner):
    expression = low_level({("x", i): Task(("x", i), operator.neg, i) for i in range(4)})
    graph = planner.materialise(
        expression,
        annotations={"priority": lambda key: key[1] % 2, "executor": "gpu", "tags": {1}},
        code=(SourceCode("x = 1", 3, 1, "f.py"),),
        span_metadata={"collections": [{"type": "test"}]},
    )
    assert graph.annotations() == {
        ("x", i): {"priority": i % 2, "executor": "gpu", "tags": {1}} for i in range(4)
    }
    assert len(graph.annotation_sets) == 2
    assert graph.fields["annotations"] == {"executor": "gpu", "tags": {1}}
    assert graph.fields["code"] == (("x = 1", 3, 1, "f.py"),)
    assert graph.fields["span_metadata"] == {"collections": ({"type": "test"},)}


# ---- errors ----


class Explodes:
    def __reduce__(self):
        return operator.truediv, (1, 0)


def test_unreadable_graph(planner):
    reply = planner.materialise(low_level({"a": Task("a", operator.neg, Explodes())}))
    assert reply["status"] == "error"
    error = pickle.loads(reply["error"]["exception"])
    assert isinstance(error, RuntimeError)
    assert "Error during deserialization of the task graph" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_missing_module_is_named_with_its_side(planner):
    content = b"\x80\x05\x8c\x0cno_such_here\x8c\x01f\x93."
    header = {"serializer": "pickle", "writeable": []}
    reply = planner.materialise(Serialized(header, [content]))
    error = pickle.loads(reply["error"]["exception"])
    assert "'no_such_here' is missing in the scheduler's planner environment: /" in str(error)


def test_task_that_cannot_be_pickled(planner):
    class Once:
        """Unpickles into something that cannot be pickled."""

        def __reduce__(self):
            return threading.Lock, ()

    reply = planner.materialise(low_level({"a": Task("a", operator.neg, Once())}))
    assert reply["status"] == "error"
    assert isinstance(pickle.loads(reply["error"]["exception"]), TypeError)


def test_planner_goes_on_after_errors(planner):
    check_same(planner, low_level({"a": Task("a", operator.neg, 1)}))


# ---- speed and concurrency ----


class CountedKey(str):
    """A key that counts how often it is looked up, put into a set, compared"""

    uses = 0

    def __hash__(self):
        CountedKey.uses += 1
        return super().__hash__()


def calls_into_one_sum(n, key=str):
    """As delayed(sum)([delayed(neg)(i) for i in range(n)]), which clients take long to build."""
    tasks = [Task(key(f"neg-{i:032x}"), operator.neg, i) for i in range(n)]
    tasks.append(Task(key("sum-0"), sum, List(*[TaskRef(task.key) for task in tasks])))
    layers = {task.key: MaterializedLayer({task.key: task}) for task in tasks}
    dependencies = {task.key: set(task.dependencies) for task in tasks}
    return HighLevelGraph(layers, dependencies)


def test_delayed_is_linear(planner):
    """Ten times the tasks are ten times the work; on stock, a hundred times."""
    optimizer = {"low_level_optimizer": Delayed.__dask_optimize__, "postcompute": (single_key, ())}
    hlg = HLGExpr(dsk=calls_into_one_sum(100), output_keys=["sum-0"], **optimizer)
    check_same(planner, _HLGExprSequence(hlg))
    uses = []
    for n in (200, 2000):
        graph = calls_into_one_sum(n, CountedKey)
        before = CountedKey.uses
        culled = cull(graph, ["sum-0"])
        uses.append(CountedKey.uses - before)
        assert len(culled.layers) == n + 1
    assert n < uses[1] < 11 * uses[0]


class WhatIsLoaded:
    """Unpickles into whether distributed is imported there; a pickle that names it would import it."""

    def __reduce__(self):
        return eval, ("'distri' 'buted' in __import__('sys').modules",)


def test_distributed_is_imported_when_it_is_needed():
    """A planner that only opens plain graphs starts in a third of the time."""
    with closing(Planner()) as planner:
        (node,) = planner.materialise(low_level({"a": Task("a", bool, WhatIsLoaded())})).tasks().values()
        assert node({}) is False
        assert planner.run(abs, -1) == 1
        (node,) = planner.materialise(low_level({"a": Task("a", bool, WhatIsLoaded())})).tasks().values()
        assert node({}) is True


# ---- ahead of need ----


def test_a_graph_ends_what_is_imported_ahead():
    with closing(Planner()) as planner:
        planner.send({"op": "prewarm", "id": None})
        check_same(planner, low_level({"a": Task("a", operator.neg, 1)}))
        assert planner.run(abs, -1) == 1


@pytest.mark.parametrize("setting", [None, True, ["os", "sys"], (), "numpy"])
def test_which_modules_are_imported_ahead(setting):
    expected = {None: prewarm.MODULES, True: prewarm.MODULES, "numpy": ("numpy",)}
    with dask.config.set({"cask.planner.prewarm": setting}):
        names = prewarm.wanted_modules()
    assert names == list(setting if isinstance(setting, (list, tuple)) else expected[setting])


class Import:
    """Takes the place of importlib.import_module; the import of "slow" takes until `finish` is set"""

    def __init__(self):
        self.events = []
        self.began, self.finish = threading.Event(), threading.Event()

    def import_module(self, name):
        if name == "broken":
            raise OSError(name)
        self.began.set()
        assert self.finish.wait(30)
        self.events.append(name)


def test_the_import_under_way_is_waited_for_and_is_the_last(monkeypatch):
    """A graph that comes in the middle waits for one import, not for all"""
    imports = Import()
    monkeypatch.setattr(prewarm, "importlib", imports)
    ahead = prewarm.Prewarm()
    with dask.config.set({"cask.planner.prewarm": ["broken", "slow", "never"]}):
        importing = threading.Thread(target=ahead.run)
        importing.start()
        assert imports.began.wait(30)
        ahead.end()
        graph = threading.Thread(target=lambda: (ahead.wait(), imports.events.append("graph")))
        graph.start()
        imports.finish.set()
        graph.join(30)
        importing.join(30)
        ahead.run()  # too late
    assert imports.events == ["slow", "graph"]


def test_many_parts(planner):
    blob = bytes(100_000)
    dsk = {i: Task(i, len, blob[: 100_000 - i]) for i in range(20)}
    graph = planner.materialise(low_level(dsk))
    assert graph.part_count > 3
    assert [node({}) for node in graph.tasks().values()] == [100_000 - i for i in range(20)]


def test_short_graph_overtakes_a_long_one(planner):
    """Two graphs in flight; parts and ends carry the number of their request."""

    class Slow:
        def __reduce__(self):
            return time.sleep, (1.0,)

    slow = planner.send_graph(low_level({"a": Task("a", operator.neg, Slow())}))
    quick = planner.send_graph(low_level({"b": Task("b", operator.neg, 1)}))
    order = []
    while len(order) < 2:
        fields, _ = planner.receive()
        if fields["op"] == "graph":
            order.append(fields["id"])
    assert order == [quick, slow]
    assert numbers(b"") == []
