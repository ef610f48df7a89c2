"""Graphs for bench/loadgen, pickled by stock code exactly as its client sends them.

    graphs.py SHAPE TASKS FILE        SHAPE: merge, tree, random, groups, delayed; array, dataframe, bag

TASKS is about how many; of a collection its size makes it so.
FILE is a run of parts, each an u64 size and its bytes: the number of tasks, the wanted keys (msgpack
array), a worker's metrics and versions (msgpack maps), and the update-graph message as it goes on the
wire. Made once and kept: pickling a million tasks takes Python minutes. FILE with the suffix .json says
what CPU it took as a client.
"""

from __future__ import annotations

import datetime
import json
import operator
import random
import struct
import sys
import time
from pathlib import Path

import dask
import msgpack
from dask._expr import Expr, FinalizeCompute, HLGExpr, LLGExpr
from dask._task_spec import List, Task, TaskRef
from dask.base import collections_to_expr
from dask.core import flatten
from distributed.protocol.core import dumps
from distributed.protocol.serialize import Serialized, ToPickle, serialize, to_serialize
from distributed.utils import ensure_memoryview
from distributed.versions import get_versions

LAYERS = 50

METRICS = {
    "task_counts": {},
    "bandwidth": {"total": 100000000, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {"latency": 0.028, "tick-duration": 0.98},
    "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0},
    "transfer": {
        f"{way}_{what}": 0
        for way in ("incoming", "outgoing")
        for what in ("bytes", "count", "count_total")
    },
    "event_loop_interval": 0.02,
    "cpu": 5.4,
    "memory": 83472384,
    "time": 0.0,
    "host_net_io": {"read_bps": 436260.7, "write_bps": 436260.7},
    "host_disk_io": {"read_bps": 7407.0, "write_bps": 0.0},
    "num_fds": 21,
}


def merge(count: int) -> tuple[dict, list]:
    """`count - 1` independent tasks and their sum."""
    graph = {key: Task(key, operator.neg, i) for i in range(count - 1) for key in [f"leaf-{i:08x}"]}
    graph["merge-0"] = Task("merge-0", sum, List(*map(TaskRef, list(graph))))
    return graph, ["merge-0"]


def tree(count: int) -> tuple[dict, list]:
    """A binary reduction."""
    level = [f"leaf-{i:08x}" for i in range((count + 1) // 2)]
    graph = {key: Task(key, operator.neg, i) for i, key in enumerate(level)}
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2], strict=False):
            key = f"node-{len(graph):08x}"
            graph[key] = Task(key, operator.add, TaskRef(left), TaskRef(right))
            above.append(key)
        level = above + level[len(level) & ~1 :]
    return graph, level


def layered(count: int) -> tuple[dict, list]:
    """Layers; each task has two or three inputs near its own place in the layer before."""
    chance = random.Random(1)
    width = count // LAYERS
    graph: dict = {}
    before: list[str] = []
    for layer in range(LAYERS):
        here = [f"layer{chr(97 + layer % 26)}-{layer:02x}{i:08x}" for i in range(width)]
        for i, key in enumerate(here):
            near = [(i + j * chance.randint(1, 4)) % width for j in range(chance.randint(2, 3))]
            inputs = [TaskRef(before[j]) for j in dict.fromkeys(near)] if before else [i]
            graph[key] = Task(key, max, *inputs)
        before = here
    graph["last-0"] = Task("last-0", sum, List(*map(TaskRef, before)))
    return graph, ["last-0"]


def groups(count: int) -> tuple[dict, list]:
    """200 groups as collections have them, ("step-7-…", i), in ten chains of 20."""
    width = count // 200
    graph: dict = {}
    for group in range(200):
        name, before = (f"step-{i // 20}-{i:032x}" for i in (group, group - 1))
        for i in range(width):
            graph[name, i] = Task((name, i), operator.neg, TaskRef((before, i)) if group % 20 else i)
    ends = (f"step-{group // 20}-{group:032x}" for group in range(19, 200, 20))
    return graph, [(name, i) for name in ends for i in range(width)]


def delayed(count: int) -> tuple[HLGExpr, list]:
    """Independent calls of one delayed function and their sum: a graph of many layers."""
    call = dask.delayed(operator.neg, pure=True)
    total = dask.delayed(sum)([call(i) for i in range(count - 1)], dask_key_name="total-0")
    return HLGExpr.from_collection(total), ["total-0"]


def of_collection(collection: object) -> tuple[Expr, list]:
    """What a client's compute sends."""
    expr = FinalizeCompute(collections_to_expr((collection,), True)).optimize()
    return expr, list(flatten(expr.__dask_keys__()))


def array(count: int) -> tuple[Expr, list]:
    """A transposed sum, chunk by chunk."""
    import dask.array as da

    side = round((count / 2.34) ** 0.5)
    x = da.ones((10 * side, 10 * side), chunks=(10, 10))
    return of_collection((x + x.T).sum())


def dataframe(count: int) -> tuple[Expr, list]:
    """A shuffle's worth of tasks: group by a column, then join the frame with what was found."""
    days = max(1, round(count / 92))
    end = (datetime.date(2000, 1, 1) + datetime.timedelta(days)).isoformat()
    left = dask.datasets.timeseries(end=end, freq="1h", partition_freq="12h", seed=1)
    right = left[["id", "y"]].groupby("id").y.max().reset_index()
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        return of_collection(left.merge(right, on="id"))


def bag(count: int) -> tuple[Expr, list]:
    """Words counted."""
    import dask.bag as db

    parts = round(count / 2.14)
    return of_collection(db.from_sequence(range(parts), npartitions=parts).map(str).frequencies())


SHAPES = {
    "merge": merge,
    "tree": tree,
    "random": layered,
    "groups": groups,
    "delayed": delayed,
    "array": array,
    "dataframe": dataframe,
    "bag": bag,
}


def message(shape: str, count: int) -> tuple[list, list, dict]:
    """What is wanted, the frames of the update-graph message, and the CPU seconds that cost the client."""
    start = time.process_time()
    graph, wanted = SHAPES[shape](count)
    expr = LLGExpr(graph) if isinstance(graph, dict) else graph
    built = time.process_time()
    serialized = Serialized(*serialize(to_serialize(expr), on_error="raise"))
    pickled = time.process_time()
    frames = dumps(
        [
            {
                "op": "update-graph",
                "expr_ser": serialized,
                "keys": set(wanted),
                "internal_priority": None,
                "submitting_task": None,
                "fifo_timeout": "60s",
                "actors": None,
                "code": ToPickle(()),
                "annotations": ToPickle({}),
                "span_metadata": ToPickle({"collections": [{"type": "low-level-graph"}]}),
            }
        ]
    )
    return wanted, frames, {"build_seconds": built - start, "pickle_seconds": pickled - built}


def write(shape: str, count: int, path: Path) -> None:
    start = time.perf_counter()
    wanted, frames, client = message(shape, count)
    path.with_suffix(".json").write_text(json.dumps(client))
    frames = [ensure_memoryview(frame) for frame in frames]  # an array's buffer has a shape
    lengths = struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames))
    total = len(lengths) + sum(map(len, frames))
    parts = [
        [struct.pack("<Q", count)],
        [msgpack.packb(wanted)],
        [msgpack.packb(METRICS)],
        [msgpack.packb(get_versions())],
        [struct.pack("<Q", total), lengths, *frames],
    ]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for part in parts:
            file.write(struct.pack("<Q", sum(map(len, part))))
            for piece in part:
                file.write(piece)
    partial.rename(path)
    print(f"{path}: {total:,} bytes in {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
