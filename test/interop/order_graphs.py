"""Task graphs for comparing orders: shapes made here, and real programs after stock's optimisers.

A graph is {key: GraphNode}, as dask.order.order takes it.  Run as a program, it orders the graphs
pickled in a file with stock's order() and prints the priorities as JSON: PYTHONHASHSEED, which
sets iterate by, is fixed for the life of a process.
"""

from __future__ import annotations

import json
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef

Graph = dict[Any, GraphNode]


@dataclass
class Flat:
    """A graph as numbers, as the scheduler has it: keys from len(deps) on are external"""

    name: str
    keys: list[Any]
    deps: list[list[int]]
    is_data: list[bool]

    @classmethod
    def of(cls, name: str, graph: Graph) -> Flat:
        keys = list(graph)
        number = {key: i for i, key in enumerate(keys)}
        for node in graph.values():
            for key in sorted(node.dependencies, key=str):
                if key not in number:
                    number[key] = len(keys)
                    keys.append(key)
        deps = [sorted(number[key] for key in node.dependencies) for node in graph.values()]
        return cls(name, keys, deps, [isinstance(node, DataNode) for node in graph.values()])

    def graph(self) -> Graph:
        """The graph again, with tasks that do nothing"""
        return {
            key: DataNode(key, 1)
            if data
            else Task(key, work, *(TaskRef(self.keys[d]) for d in deps))
            for key, deps, data in zip(self.keys, self.deps, self.is_data, strict=False)
        }


def work(*args: Any) -> None:
    """What every made task runs; it is never run."""


def graph_of(dependencies: dict[Any, list[Any]], data: set[Any] = frozenset()) -> Graph:
    """A graph with these dependencies; the keys in `data` become pure data."""
    return {
        key: DataNode(key, 1) if key in data else Task(key, work, *map(TaskRef, needs))
        for key, needs in dependencies.items()
    }


# --- Shapes. Each returns {key: dependencies}. ---


def chains(count: int, length: int) -> dict:
    return {
        (f"chain-{c:03}", i): [(f"chain-{c:03}", i - 1)] if i else []
        for c in range(count)
        for i in range(length)
    }


def merge(width: int) -> dict:
    graph: dict = {("part", i): [] for i in range(width)}
    graph["sum"] = list(graph)
    return graph


def tree(leaves: int, fan_in: int, name: str = "tree") -> dict:
    """A reduction of `leaves` inputs, `fan_in` at a time."""
    graph: dict = {(name, 0, i): [] for i in range(leaves)}
    row = list(graph)
    level = 0
    while len(row) > 1:
        level += 1
        groups = [row[i : i + fan_in] for i in range(0, len(row), fan_in)]
        row = [(name, level, i) for i in range(len(groups))]
        graph.update(zip(row, groups, strict=True))
    return graph


def broadcast_tree(leaves: int, fan_out: int) -> dict:
    """One root that splits level by level."""
    graph: dict = {("split", 0, 0): []}
    level, width = 0, 1
    while width < leaves:
        level += 1
        graph.update(
            {
                ("split", level, i): [("split", level - 1, i // fan_out)]
                for i in range(width * fan_out)
            }
        )
        width *= fan_out
    return graph


def diamonds(count: int, width: int, linked: bool) -> dict:
    graph: dict = {}
    for d in range(count):
        graph["top", d] = [("bottom", d - 1)] if linked and d else []
        for i in range(width):
            graph["middle", d, i] = [("top", d)]
        graph["bottom", d] = [("middle", d, i) for i in range(width)]
    return graph


def layered(layers: int, width: int, fan_in: int, seed: int) -> dict:
    """Every task needs up to `fan_in` random tasks of the layer before."""
    draw = random.Random(seed)
    graph: dict = {("layer", 0, i): [] for i in range(width)}
    for layer in range(1, layers):
        for i in range(width):
            needs = {draw.randrange(width) for _ in range(draw.randint(1, fan_in))}
            graph["layer", layer, i] = [("layer", layer - 1, n) for n in sorted(needs)]
    return graph


def sparse(count: int, reach: int, edges: float, seed: int) -> dict:
    """Random edges from any earlier task at most `reach` back; `edges` a task on average."""
    draw = random.Random(seed)
    graph: dict = {}
    for i in range(count):
        wish = int(edges * 2 * draw.random() + 0.5)
        needs = {draw.randrange(max(0, i - reach), i) for _ in range(wish)} if i else set()
        graph[f"task-{i}"] = [f"task-{n}" for n in sorted(needs)]
    return graph


def stencil(width: int, steps: int, reach: int = 1) -> dict:
    """A line of cells; each needs its neighbours of the step before."""
    return {
        ("cell", t, x): (
            [("cell", t - 1, n) for n in range(max(0, x - reach), min(width, x + reach + 1))]
            if t
            else []
        )
        for t in range(steps)
        for x in range(width)
    }


def stencil2(side: int, steps: int) -> dict:
    """A square of cells; each needs itself and its four neighbours of the step before."""
    graph: dict = {}
    for t in range(steps):
        for x in range(side):
            for y in range(side):
                near = [(x, y), (x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
                near = [(a, b) for a, b in near if 0 <= a < side and 0 <= b < side]
                graph["grid", t, x, y] = [("grid", t - 1, a, b) for a, b in near] if t else []
    return graph


def shuffle(inputs: int, outputs: int, reduce_to: int = 0) -> dict:
    """All to all: inputs, their splits, what gathers them, and perhaps a tree over these."""
    graph: dict = {("load", i): [] for i in range(inputs)}
    for i in range(inputs):
        for o in range(outputs):
            graph["split", i, o] = [("load", i)]
    for o in range(outputs):
        graph["gather", o] = [("split", i, o) for i in range(inputs)]
    for r in range(reduce_to):
        graph["reduce", r] = [("gather", o) for o in range(r, outputs, reduce_to)]
    return graph


def butterfly(log_width: int) -> dict:
    width = 1 << log_width
    graph: dict = {("fly", 0, i): [] for i in range(width)}
    for stage in range(1, log_width + 1):
        for i in range(width):
            other = i ^ (1 << (stage - 1))
            graph["fly", stage, i] = [("fly", stage - 1, i), ("fly", stage - 1, other)]
    return graph


def blockwise(rows: int, columns: int, depth: int, reduce: bool) -> dict:
    graph: dict = {}
    for x in range(rows):
        for y in range(columns):
            graph["load", x, y] = []
            before = ("load", x, y)
            for d in range(depth):
                graph[f"op{d}", x, y] = [before]
                before = (f"op{d}", x, y)
    if reduce:
        for y in range(columns):
            graph["sum", y] = [before[:1] + (x, y) for x in range(rows)]
    return graph


def rechunk(rows: int, columns: int) -> dict:
    """Row chunks to column chunks."""
    return shuffle(rows, columns) | {("use", o): [("gather", o)] for o in range(columns)}


def matmul(n: int) -> dict:
    graph: dict = {(name, i, j): [] for name in "ab" for i in range(n) for j in range(n)}
    for i in range(n):
        for j in range(n):
            for k in range(n):
                graph["mul", i, j, k] = [("a", i, k), ("b", k, j)]
            graph["c", i, j] = [("mul", i, j, k) for k in range(n)]
    return graph


def cholesky(n: int) -> dict:
    graph: dict = {}

    def block(i: int, j: int, k: int) -> list:
        return [("gemm", i, j, k - 1)] if k else [("load", i, j)]

    for i in range(n):
        for j in range(i + 1):
            graph["load", i, j] = []
            for k in range(j):
                graph["gemm", i, j, k] = list(
                    dict.fromkeys([*block(i, j, k), ("panel", i, k), ("panel", j, k)])
                )
            graph["panel", i, j] = block(i, j, j) + ([("panel", j, j)] if i != j else [])
    return graph


def sliding(count: int, window: int) -> dict:
    graph: dict = {("load", i): [] for i in range(count)}
    for i in range(count - window + 1):
        graph["window", i] = [("load", i + k) for k in range(window)]
        graph["mean", i] = [("window", i)]
    return graph


def cumulative(count: int) -> dict:
    """A scan: blocks, their sums, the running totals, and the shifted blocks."""
    graph: dict = {}
    for i in range(count):
        graph["load", i] = []
        graph["sum", i] = [("load", i)]
        graph["total", i] = [("sum", i)] + ([("total", i - 1)] if i else [])
        graph["shift", i] = [("load", i)] + ([("total", i - 1)] if i else [])
    return graph


def climatology(days: int, groups: int) -> dict:
    """Group means, then anomalies against them, then one mean."""
    graph: dict = {("load", d): [] for d in range(days)}
    for g in range(groups):
        graph["mean", g] = [("load", d) for d in range(g, days, groups)]
    for d in range(days):
        graph["anomaly", d] = [("load", d), ("mean", d % groups)]
    graph["result"] = [("anomaly", d) for d in range(days)]
    return graph


def side_by_side(*graphs: dict) -> dict:
    """Graphs that share nothing."""
    return {
        (f"g{number}", *(key if isinstance(key, tuple) else (key,))): [
            (f"g{number}", *(need if isinstance(need, tuple) else (need,))) for need in needs
        ]
        for number, graph in enumerate(graphs)
        for key, needs in graph.items()
    }


def with_strings(graph: dict) -> dict:
    """The same with plain strings as keys, the later ones first in the dict."""

    def name(key: Any) -> str:
        return "-".join(map(str, key)) if isinstance(key, tuple) else str(key)

    return {name(key): [name(need) for need in graph[key]] for key in reversed(graph)}


def with_data(graph: dict, share: float, seed: int) -> Graph:
    """Some of the roots become data, and some tasks get a shared piece of data as well."""
    draw = random.Random(seed)
    more: dict = {("data", i): [] for i in range(4)}
    for key, needs in graph.items():
        extra = [("data", i) for i in range(4) if draw.random() < share]
        more[key] = needs + (extra if needs else [])
    data = {key for key, needs in more.items() if not needs and draw.random() < 0.5}
    return graph_of(more, data)


def with_external(graph: dict, seed: int) -> Graph:
    """Some of the roots are not in the graph: they must be known already."""
    draw = random.Random(seed)
    gone = {key for key, needs in graph.items() if not needs and draw.random() < 0.5}
    return {key: node for key, node in graph_of(graph).items() if key not in gone}


def with_aliases(graph: dict, seed: int) -> Graph:
    draw = random.Random(seed)
    made = graph_of(graph)
    for key in list(graph):
        if draw.random() < 0.3:
            made["alias", key] = Alias(("alias", key), key)
    return made


def shapes() -> Iterator[tuple[str, Graph]]:
    """Over 200 made graphs, none over a few thousand tasks."""
    plain: dict[str, dict] = {}
    for count, length in [(1, 1), (1, 50), (7, 9), (40, 3), (200, 1)]:
        plain[f"chains-{count}-{length}"] = chains(count, length)
    for width in (1, 2, 17, 300):
        plain[f"merge-{width}"] = merge(width)
    for leaves, fan_in in [(2, 2), (16, 2), (100, 2), (100, 4), (256, 16), (1000, 8)]:
        plain[f"tree-{leaves}-{fan_in}"] = tree(leaves, fan_in)
    for leaves, fan_out in [(4, 2), (64, 2), (81, 3), (256, 16)]:
        plain[f"broadcast-{leaves}-{fan_out}"] = broadcast_tree(leaves, fan_out)
    for count, width in [(1, 2), (5, 3), (20, 10), (3, 100)]:
        plain[f"diamonds-{count}-{width}"] = diamonds(count, width, False)
        plain[f"linked-diamonds-{count}-{width}"] = diamonds(count, width, True)
    for seed, (layers, width, fan_in) in enumerate(
        [
            (2, 10, 2),
            (5, 20, 2),
            (5, 20, 5),
            (10, 10, 3),
            (10, 60, 3),
            (30, 10, 2),
            (50, 30, 4),
            (4, 300, 3),
        ]
    ):
        for repeat in range(4):
            plain[f"layered-{layers}-{width}-{fan_in}-{repeat}"] = layered(
                layers, width, fan_in, 100 * seed + repeat
            )
    for seed, (count, reach, edges) in enumerate(
        [
            (30, 30, 1.0),
            (100, 10, 1.2),
            (100, 100, 1.5),
            (300, 20, 2.0),
            (300, 300, 0.7),
            (1000, 50, 1.0),
            (1000, 8, 1.6),
        ]
    ):
        for repeat in range(5):
            plain[f"sparse-{count}-{reach}-{edges}-{repeat}"] = sparse(
                count, reach, edges, 1000 * seed + repeat
            )
    for width, steps, reach in [
        (5, 5, 1),
        (20, 10, 1),
        (10, 60, 1),
        (100, 12, 1),
        (30, 8, 3),
        (8, 150, 2),
    ]:
        plain[f"stencil-{width}-{steps}-{reach}"] = stencil(width, steps, reach)
    for side, steps in [(3, 3), (8, 6), (12, 12)]:
        plain[f"stencil2-{side}-{steps}"] = stencil2(side, steps)
    for inputs, outputs, reduce_to in [(2, 2, 0), (8, 8, 0), (20, 10, 3), (10, 40, 0), (30, 30, 1)]:
        plain[f"shuffle-{inputs}-{outputs}-{reduce_to}"] = shuffle(inputs, outputs, reduce_to)
    for log_width in (2, 4, 6):
        plain[f"butterfly-{log_width}"] = butterfly(log_width)
    for rows, columns, depth in [(4, 4, 1), (10, 10, 4), (30, 5, 2)]:
        for reduce in (False, True):
            plain[f"blockwise-{rows}-{columns}-{depth}-{reduce}"] = blockwise(
                rows, columns, depth, reduce
            )
    for rows, columns in [(5, 5), (20, 30)]:
        plain[f"rechunk-{rows}-{columns}"] = rechunk(rows, columns)
    for n in (2, 5, 8):
        plain[f"matmul-{n}"] = matmul(n)
    for n in (3, 6, 12):
        plain[f"cholesky-{n}"] = cholesky(n)
    for count, window in [(10, 3), (60, 5), (200, 12)]:
        plain[f"sliding-{count}-{window}"] = sliding(count, window)
    for count in (3, 20, 150):
        plain[f"cumulative-{count}"] = cumulative(count)
    for days, groups in [(12, 3), (120, 12), (300, 7)]:
        plain[f"climatology-{days}-{groups}"] = climatology(days, groups)
    plain["side-by-side-trees"] = side_by_side(*(tree(n, 3) for n in (1, 5, 20, 50)))
    plain["side-by-side-mixed"] = side_by_side(
        merge(9), stencil(6, 6), shuffle(4, 6), chains(3, 3), layered(5, 8, 3, 1), chains(4, 1)
    )
    for name, graph in plain.items():
        yield name, graph_of(graph)
    dressed = ("diamonds-5-3", "layered-10-10-3-0", "sparse-100-10-1.2-1", "stencil-20-10-1",
               "shuffle-8-8-0", "tree-100-4", "matmul-5", "cumulative-20", "climatology-120-12",
               "side-by-side-mixed", "blockwise-10-10-4-True", "cholesky-6")  # fmt: skip
    for seed, name in enumerate(dressed):
        yield f"{name}+strings", graph_of(with_strings(plain[name]))
        yield f"{name}+data", with_data(plain[name], 0.3, seed)
        yield f"{name}+external", with_external(plain[name], seed)
        yield f"{name}+aliases", with_aliases(plain[name], seed)


# --- Real programs. Each makes the collections whose graph a client would send. ---


def array_programs() -> dict[str, Callable[[], Any]]:
    import dask.array as da
    import numpy as np

    def square(chunk: int = 100, size: int = 1000) -> Any:
        return da.random.default_rng(1).random((size, size), chunks=(chunk, chunk))

    def cube() -> Any:
        return da.random.default_rng(2).random((120, 60, 60), chunks=(20, 30, 15))

    def svd() -> Any:
        return da.linalg.svd(da.ones((4000, 20), chunks=(500, 20)))

    def store() -> Any:
        x = square()
        return da.store(x + 1, np.empty((1000, 1000)), compute=False)

    def anomalies() -> Any:
        x = da.ones((365, 40, 40), chunks=(10, 40, 20))
        return ((x - x.mean(axis=0)) / x.std(axis=0)).max(axis=(1, 2))

    def stacked() -> Any:
        parts = [da.ones((50, 50), chunks=25) * i for i in range(12)]
        return da.stack(parts).mean(axis=0) + da.concatenate(parts).sum()

    return {
        "array-sum": lambda: square().sum(),
        "array-transpose-sum": lambda: (square() + square().T).sum(axis=0),
        "array-mean-std": lambda: (square() - square().mean()) / square().std(),
        "array-elementwise": lambda: da.exp(square()) * 2 - 1,
        "array-matmul": lambda: square(200) @ square(200),
        "array-dot-vector": lambda: square().dot(da.ones(1000, chunks=100)),
        "array-rechunk": lambda: square().rechunk((1000, 20)).sum(axis=0),
        "array-rechunk-plan": lambda: square(50).rechunk((20, 500)),
        "array-cumsum": lambda: square().cumsum(axis=0),
        "array-overlap": lambda: square().map_overlap(lambda b: b, depth=1, boundary="none"),
        "array-overlap-twice": lambda: (
            square()
            .map_overlap(lambda b: b, 1, boundary="none")
            .map_overlap(lambda b: b, 1, boundary="none")
        ),
        "array-slices": lambda: square()[::3, 5:700].sum(axis=1),
        "array-fancy": lambda: square()[np.arange(0, 1000, 7)][:, np.arange(999, 0, -13)],
        "array-percentile": lambda: da.percentile(da.ones(10000, chunks=500), [5, 50, 95]),
        "array-histogram": lambda: da.histogram(square(), bins=20, range=(0, 1))[0],
        "array-tensordot": lambda: da.tensordot(cube(), cube(), axes=((1, 2), (1, 2))),
        "array-einsum": lambda: da.einsum("ijk,ilk->jl", cube(), cube()),
        "array-cube-reduce": lambda: cube().sum(axis=1).max(axis=0),
        "array-reshape": lambda: cube().reshape((120, 3600)).sum(axis=1),
        "array-svd": svd,
        "array-qr": lambda: da.linalg.qr(da.ones((4000, 20), chunks=(500, 20))),
        "array-cholesky": lambda: da.linalg.cholesky(da.eye(600, chunks=100) * 2),
        "array-lu": lambda: da.linalg.lu(da.eye(400, chunks=100) * 2),
        "array-solve": lambda: da.linalg.solve(
            da.eye(400, chunks=100) * 2, da.ones(400, chunks=100)
        ),
        "array-fft": lambda: abs(da.fft.fft(square().rechunk((1000, 100)), axis=0)).sum(),
        "array-store": store,
        "array-from-numpy": lambda: da.from_array(np.ones((300, 300)), chunks=50).sum(axis=0) + 1,
        "array-anomalies": anomalies,
        "array-stack": stacked,
        "array-topk": lambda: da.topk(square(), 5, axis=0),
        "array-unique": lambda: da.unique(da.ones(5000, chunks=250).astype(int)),
        "array-where": lambda: da.where(square() > 0.5, square(), -square()).mean(axis=1),
        "array-triu": lambda: da.triu(square()).sum(),
        "array-cov": lambda: da.cov(square()),
        "array-argmax": lambda: square().argmax(axis=0),
        "array-two-results": lambda: (square().min(), square().max(axis=1)),
        "array-roll": lambda: (da.roll(square(), 150, axis=0) - square()).sum(axis=1),
        "array-coarsen": lambda: da.coarsen(np.mean, square(), {0: 10, 1: 10}),
        "array-apply-gufunc": lambda: da.apply_gufunc(
            lambda b: b.mean(axis=-1), "(i)->()", square().rechunk((100, 1000)), output_dtypes=float
        ),
        "array-block-view": lambda: square().blocks[::2, 1:] + 1,
    }


def frame_programs() -> dict[str, Callable[[], Any]]:
    import dask
    import dask.dataframe as dd
    import pandas as pd

    def frame(parts: int = 20) -> Any:
        data = pd.DataFrame({"a": [1, 2, 3, 4] * 100, "b": range(400), "c": ["x", "y"] * 200})
        return dd.from_pandas(data, npartitions=parts)

    def series() -> Any:
        return dask.datasets.timeseries("2000-01-01", "2000-01-31", partition_freq="1D")

    return {
        "frame-sum": lambda: frame().b.sum(),
        "frame-groupby-sum": lambda: frame().groupby("a").b.sum(),
        "frame-groupby-agg": lambda: frame().groupby("c").agg({"a": ["mean", "std"], "b": "max"}),
        "frame-groupby-split": lambda: frame().groupby("b").a.sum(split_out=4),
        "frame-filter": lambda: frame()[frame().a > 2][["a", "b"]],
        "frame-value-counts": lambda: frame().c.value_counts(),
        "frame-merge": lambda: frame().merge(frame(7), on="b"),
        "frame-join-index": lambda: frame().join(frame(10), rsuffix="_right"),
        "frame-merge-small": lambda: frame().merge(frame(1), on="a"),
        "frame-set-index": lambda: frame().set_index("b", divisions=[0, 100, 200, 300, 399]),
        "frame-shuffle-tasks": lambda: frame().shuffle("a", shuffle_method="tasks"),
        "frame-drop-duplicates": lambda: frame().drop_duplicates(subset=["a"]),
        "frame-rolling": lambda: frame().b.rolling(5).mean(),
        "frame-cumsum": lambda: frame().b.cumsum(),
        "frame-describe": lambda: frame().describe(),
        "frame-nunique": lambda: frame().c.nunique(),
        "frame-repartition": lambda: frame().repartition(npartitions=6).b.max(),
        "frame-head": lambda: frame().head(5, npartitions=3, compute=False),
        "frame-concat": lambda: dd.concat([frame(3), frame(5)]).a.mean(),
        "frame-series-resample": lambda: series().x.resample("6h").mean(),
        "frame-series-two": lambda: (series().x.mean(), series().y.std(), series().x.max()),
        "frame-corr": lambda: frame()[["a", "b"]].corr(),
        "frame-nlargest": lambda: frame().nlargest(5, "b"),
        "frame-to-array": lambda: frame()[["a", "b"]].to_dask_array(lengths=True).sum(axis=0),
    }


def bag_programs() -> dict[str, Callable[[], Any]]:
    import dask.bag as db

    def bag(parts: int = 20) -> Any:
        return db.from_sequence(range(200), npartitions=parts)

    return {
        "bag-sum": lambda: bag().map(float).sum(),
        "bag-frequencies": lambda: bag().map(str).frequencies(),
        "bag-foldby": lambda: bag().foldby(lambda x: x % 3, lambda a, b: a + b, 0),
        "bag-groupby": lambda: bag().groupby(lambda x: x % 5, shuffle="tasks"),
        "bag-filter": lambda: bag().filter(bool).map(str).pluck(0),
        "bag-topk": lambda: bag().topk(5),
        "bag-join": lambda: bag().join([1, 2, 3], lambda x: x % 4),
        "bag-product": lambda: bag(4).product(bag(5)),
        "bag-zip": lambda: db.zip(bag(), bag().map(str)),
        "bag-std": lambda: bag().std(),
        "bag-distinct": lambda: bag().map(lambda x: x % 9).distinct(),
        "bag-accumulate": lambda: bag().accumulate(lambda a, b: a + b),
        "bag-fold": lambda: bag(40).fold(max, split_every=3),
        "bag-repartition": lambda: bag().repartition(7).count(),
    }


def delayed_programs() -> dict[str, Callable[[], Any]]:
    import dask

    step = dask.delayed(lambda *args: args, pure=False)

    def pipeline() -> Any:
        loaded = [step(i) for i in range(30)]
        cleaned = [step(x, 1) for x in loaded]
        pairs = [step(a, b) for a, b in zip(cleaned, cleaned[1:], strict=False)]
        return step(pairs), step(cleaned)

    def fibonacci() -> Any:
        values = [step(0), step(1)]
        for _ in range(40):
            values.append(step(values[-1], values[-2]))
        return values[-1]

    def halving() -> Any:
        row = [step(i) for i in range(64)]
        while len(row) > 1:
            row = [step(a, b) for a, b in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    return {
        "delayed-pipeline": pipeline,
        "delayed-fibonacci": fibonacci,
        "delayed-halving": halving,
    }


def xarray_programs() -> dict[str, Callable[[], Any]]:
    import numpy as np
    import pandas as pd
    import xarray as xr

    def field(days: int = 120) -> Any:
        values = xr.DataArray(
            np.ones((days, 20, 30)),
            dims=("time", "y", "x"),
            coords={"time": pd.date_range("2000-01-01", periods=days)},
        )
        return values.chunk({"time": 10, "y": 10, "x": 15})

    def climate() -> Any:
        grouped = field().groupby("time.month")
        return (grouped - grouped.mean()).mean("time")

    def dataset() -> Any:
        ds = xr.Dataset({"u": field(), "v": field() * 2})
        ds["uv"] = ds.u * ds.v
        return ds.mean("time")

    return {
        "xarray-mean": lambda: field().mean("time"),
        "xarray-climatology": climate,
        "xarray-rolling": lambda: field().rolling(time=5).mean(),
        "xarray-resample": lambda: field().resample(time="MS").mean(),
        "xarray-dataset": dataset,
        "xarray-select": lambda: field().isel(time=slice(0, 50, 3)).sum(("y", "x")),
        "xarray-dot": lambda: xr.dot(field(), field(), dim="time"),
        "xarray-polyfit": lambda: field().polyfit("time", 1),
    }


def materialise(*collections: Any) -> Graph:
    """What stock's scheduler orders for a client's compute() of these collections."""
    from dask.base import collections_to_expr
    from distributed.scheduler import _materialize_graph

    expression = collections_to_expr(collections, optimize_graph=True).optimize()
    return _materialize_graph(expression, validate=False)[0]


def programs() -> Iterator[tuple[str, Graph]]:
    """The graphs of real programs."""
    import dask

    groups = (array_programs, frame_programs, bag_programs, delayed_programs, xarray_programs)
    with dask.config.set({"dataframe.shuffle.method": "tasks", "array.rechunk.method": "tasks"}):
        for group in groups:
            for name, program in group().items():
                made = program()
                yield name, materialise(*(made if isinstance(made, tuple) else (made,)))


def main() -> None:
    from dask.order import order

    with open(sys.argv[1], "rb") as file:
        flats: list[Flat] = pickle.load(file)
    orders = []
    for flat in flats:
        priorities = order(flat.graph())
        orders.append([priorities[key] for key in flat.keys[: len(flat.deps)]])
    json.dump(orders, sys.stdout)


if __name__ == "__main__":
    # The pickle names this module; as __main__ it would not be found.
    import order_graphs

    order_graphs.main()
