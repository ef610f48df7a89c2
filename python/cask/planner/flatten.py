"""A dict of tasks as arrays, cut into parts: what src/wire/flat_graph.h holds.

Tasks are numbered in the order of the dict; keys that are only depended on come after them, in the
order in which they are met. All integers are little-endian u32 arrays. A part holds whole tasks;
docs/planner.md draws it.
"""

from __future__ import annotations

import operator
import sys
from array import array
from collections.abc import Iterator
from typing import Any

import msgpack
from dask._task_spec import GraphNode, Task
from dask.core import istask

from cask.planner import plain
from cask.planner.spec_pickle import BufferTable, TaskPickler

DATA_PRODUCER = 1 << 0
NOT_A_TASK = 1 << 1
P2P_BARRIER = 1 << 2

# A part is sent once it holds this much, so that the scheduler reads one while the next is made.
PART_BYTES = 256 * 1024

_HEAD = b"\x83\xabpickled-obj"
_NO_BUFFERS = b"\xabcompression\x90\xaenum-sub-frames\x00"


def _plain_number(obj):
    """NumPy's integers appear in keys; they equal Python's and must read as the same key."""
    if hasattr(obj, "__index__"):
        return operator.index(obj)
    raise TypeError(f"keys are str, int, float and tuples of these, not {type(obj).__name__}")


def pack_key(key) -> bytes:
    """The canonical msgpack of a key."""
    return msgpack.packb(key, default=_plain_number, use_bin_type=True)


def _bin_header(size: int) -> bytes:
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def pickled_sub_header(content: bytes, buffer_count: int) -> bytes:
    """The sub-header frame of {"__Pickled__": n}; distributed.protocol.core.dumps."""
    head = _HEAD + _bin_header(len(content)) + content
    if buffer_count == 0:
        return head + _NO_BUFFERS
    return b"".join(
        (
            head,
            b"\xabcompression",
            msgpack.packb([None] * buffer_count),
            b"\xaenum-sub-frames",
            msgpack.packb(buffer_count),
        )
    )


class AnnotationSets:
    """The distinct sets of annotations of a graph's tasks, each encoded once."""

    def __init__(self, by_name: dict[str, dict], for_all: dict[str, Any] | None):
        self.by_name = by_name
        self.for_all = for_all or {}
        self.sets: list[list] = []  # frames of each set: msgpack map, then what it refers to
        self._numbers: dict[Any, int] = {}
        self._kept: list = []  # so that no id is used twice

    def __bool__(self):
        return bool(self.by_name or self.for_all)

    def _of(self, key) -> dict:
        """As Scheduler._apply_annotations: what is said of the key wins."""
        found = {}
        for name, value in self.for_all.items():
            found[name] = value(key) if callable(value) else value
        for name, of_key in self.by_name.items():
            value = of_key.get(key)
            if value is not None:
                found[name] = value
        return found

    def number_of(self, key) -> int:
        """0: none; else 1 + the number of the set."""
        found = self._of(key)
        if not found:
            return 0
        same = tuple((name, id(value)) for name, value in found.items())
        number = self._numbers.get(same)
        if number is None:
            frames = plain.write(found)
            content = tuple(bytes(frame) for frame in frames)
            number = self._numbers.get(content)
            if number is None:
                self.sets.append(frames)
                number = self._numbers[content] = len(self.sets)
            self._numbers[same] = number
            self._kept.append(found)
        return number


def _flags(node: GraphNode, barrier_type) -> int:
    flags = DATA_PRODUCER if node.data_producer else 0
    if type(node) is Task:
        return flags
    if not istask(node):
        flags |= NOT_A_TASK
    if barrier_type is not None and isinstance(node, barrier_type):
        flags |= P2P_BARRIER
    return flags


def shuffle_row(number: int, node) -> dict:
    """What the shuffle extension must know of a P2PBarrierTask; protocol.md 8.5."""
    from distributed.protocol import pickle as distributed_pickle  # loaded: P2P is of distributed

    spec = node.spec
    row = {
        "task": number,
        "id": spec.id,
        "spec": distributed_pickle.dumps(spec),
        "is_array": hasattr(spec, "new"),
        "parts": [pack_key(part) for part in spec.output_partitions],
    }
    if row["is_array"]:
        row["axis_lengths"] = [len(chunks) for chunks in spec.new]
    else:
        row["npartitions"] = spec.npartitions
    return row


def _loaded_barrier_type():
    """P2PBarrierTask, if a graph with one can be here at all."""
    module = sys.modules.get("distributed.shuffle._core")
    return getattr(module, "P2PBarrierTask", None)


class _Part:
    """Tasks first..first+count, being filled."""

    def __init__(self, first: int):
        self.first = first
        self.count = 0
        self.payload_bytes = 0
        self.key_sizes = array("I")
        self.keys: list[bytes] = []
        self.dep_counts = array("I")
        self.deps = array("I")
        self.spec_sizes = array("I")
        self.specs: list[bytes] = []
        self.flags = bytearray()
        self.annotation_of = array("I")
        self.buffer_counts = array("I")
        self.buffer_numbers = array("I")

    def frames(self, new_buffers: list[memoryview]) -> list:
        return [
            self.key_sizes.tobytes(),
            b"".join(self.keys),
            self.dep_counts.tobytes(),
            self.deps.tobytes(),
            self.spec_sizes.tobytes(),
            b"".join(self.specs),
            bytes(self.flags),
            self.annotation_of.tobytes(),
            self.buffer_counts.tobytes() if self.buffer_numbers else b"",
            self.buffer_numbers.tobytes(),
            *new_buffers,
        ]


class FlatGraph:
    """Cuts one graph into parts. After the last, `tail` is what concerns the whole."""

    def __init__(self, tasks: dict[Any, GraphNode], annotations: AnnotationSets):
        self.task_count = len(tasks)
        self.annotations = annotations
        self.shuffles: list[dict] = []
        self._numbers = {key: number for number, key in enumerate(tasks)}
        self._outside: list[bytes] = []  # packed keys that are only depended on
        self._keys = list(tasks)
        self._nodes: list[GraphNode | None] = list(tasks.values())
        self._pickler = TaskPickler()
        self._buffers = BufferTable()
        self._barrier_type = _loaded_barrier_type()

    def _number_outside(self, key) -> int:
        self._outside.append(pack_key(key))
        number = self._numbers[key] = len(self._numbers)
        return number

    def _add(self, part: _Part, number: int) -> None:
        key, node = self._keys[number], self._nodes[number]
        packed = pack_key(key)
        part.key_sizes.append(len(packed))
        part.keys.append(packed)

        numbers = self._numbers
        needed = node.dependencies
        part.dep_counts.append(len(needed))
        if needed:
            found = [
                numbers[dep] if dep in numbers else self._number_outside(dep) for dep in needed
            ]
            found.sort()  # a frozenset's order changes with the hash seed
            part.deps.extend(found)

        buffers: list = []
        spec = pickled_sub_header(self._pickler.dumps(node, buffers), len(buffers))
        part.spec_sizes.append(len(spec))
        part.specs.append(spec)
        part.payload_bytes += len(spec)
        part.buffer_counts.append(len(buffers))
        for buffer in buffers:
            part.buffer_numbers.append(self._buffers.number_of(buffer))
            part.payload_bytes += buffer.raw().nbytes

        flags = _flags(node, self._barrier_type)
        part.flags.append(flags)
        if flags & P2P_BARRIER:
            self.shuffles.append(shuffle_row(number, node))
        if self.annotations:
            part.annotation_of.append(self.annotations.number_of(key))
        part.count += 1

    def parts(self) -> Iterator[tuple[dict, list]]:
        """The parts in order: (fields, frames). Tasks are let go of as they are done."""
        number = 0
        while number < self.task_count:
            part = _Part(number)
            while number < self.task_count and part.payload_bytes < PART_BYTES:
                self._add(part, number)
                self._nodes[number] = None
                number += 1
            yield {"first": part.first, "count": part.count}, part.frames(
                self._buffers.take_fresh()
            )

    def tail(self) -> tuple[dict, list]:
        """What is known after the last part: (fields, frames)."""
        sets = self.annotations.sets
        frames = [
            array("I", [len(key) for key in self._outside]).tobytes(),
            b"".join(self._outside),
        ]
        for set_frames in sets:
            frames += set_frames
        fields = {
            "task_count": self.task_count,
            "key_count": self.task_count + len(self._outside),
            "annotation_frames": [len(set_frames) for set_frames in sets],
            "shuffles": self.shuffles,
        }
        return fields, frames
