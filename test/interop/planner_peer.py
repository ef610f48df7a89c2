"""Plays the scheduler towards a planner: starts one, sends it requests, decodes flat graphs.

docs/planner.md describes the messages.
"""

import itertools
import os
import pickle
import socket
import struct
import subprocess
import sys
from pathlib import Path

import msgpack
from distributed.protocol import serialize, to_serialize
from distributed.protocol.core import dumps, loads
from distributed.protocol.serialize import Serialized, ToPickle

PYTHON_ROOT = str(Path(__file__).parents[2] / "python")
TESTS = os.path.dirname(os.path.abspath(__file__))  # whose functions the jobs name


def numbers(frame):
    """An array of little-endian u32."""
    return list(struct.unpack(f"<{len(frame) // 4}I", frame))


def as_key(value):
    """A key as Python knows it: arrays are tuples."""
    return tuple(map(as_key, value)) if isinstance(value, list) else value


def cut(content, sizes):
    at = 0
    pieces = []
    for size in sizes:
        pieces.append(bytes(content[at : at + size]))
        at += size
    assert at == len(content)
    return pieces


class Graph:
    """A flat graph put together again."""

    def __init__(self):
        self.keys = []
        self.deps = []  # numbers
        self.specs = []  # (pickle, buffers)
        self.flags = []
        self.annotation_of = []
        self.buffers = []
        self.part_count = 0

    def add_part(self, fields, frames):
        assert fields["first"] == len(self.keys)
        self.part_count += 1
        arrays = frames[fields["arrays_at"] :]
        self.keys += [as_key(msgpack.unpackb(k)) for k in cut(arrays[1], numbers(arrays[0]))]
        deps = iter(numbers(arrays[3]))
        self.deps += [list(itertools.islice(deps, n)) for n in numbers(arrays[2])]
        self.buffers += arrays[10:]
        sub_headers = [msgpack.unpackb(s) for s in cut(arrays[5], numbers(arrays[4]))]
        buffer_numbers = iter(numbers(arrays[9]))
        counts = numbers(arrays[8]) or [0] * fields["count"]
        for header, count in zip(sub_headers, counts, strict=True):
            assert header["num-sub-frames"] == len(header["compression"]) == count
            buffers = [self.buffers[n] for n in itertools.islice(buffer_numbers, count)]
            self.specs.append((header["pickled-obj"], buffers))
        self.flags += list(arrays[6])
        self.annotation_of += numbers(arrays[7]) or [0] * fields["count"]
        assert next(deps, None) is None and next(buffer_numbers, None) is None
        assert len(self.keys) == fields["first"] + fields["count"]

    def finish(self, fields, frames):
        arrays = frames[fields["arrays_at"] :]
        self.keys += [as_key(msgpack.unpackb(k)) for k in cut(arrays[1], numbers(arrays[0]))]
        assert fields["key_count"] == len(self.keys)
        assert fields["task_count"] == len(self.specs)
        self.annotation_sets = []
        at = 2
        for count in fields["annotation_frames"]:
            self.annotation_sets.append(loads(arrays[at : at + count]))
            at += count
        assert at == len(arrays)
        self.cull = fields["cull"]
        self.shuffles = fields["shuffles"]
        self.fields = fields

    def dependencies(self):
        return {
            key: {self.keys[n] for n in deps}
            for key, deps in zip(self.keys, self.deps)
        }

    def tasks(self):
        """Key -> node, as a worker reads it."""
        return {
            key: pickle.loads(spec, buffers=buffers)
            for key, (spec, buffers) in zip(self.keys, self.specs)
        }

    def annotations(self):
        return {
            key: self.annotation_sets[n - 1]
            for key, n in zip(self.keys, self.annotation_of)
            if n
        }


class Planner:
    """A planner process, and the scheduler's end of its channel.

    `answers` answers its queries: a function of the call's fields. Graphs are asked for as arrays, unless
    `as_arrays` is set to False.
    """

    as_arrays = True

    def __init__(self, answers=None, python=sys.executable, env=None):
        ours, theirs = socket.socketpair()
        self.answers = answers
        self.socket = ours
        self.numbers = itertools.count(1)
        self.interest = None
        self.asked = []  # every call of a query
        self.said = []  # messages that answer no request: feed items

        def channel_to_fd_3():
            os.dup2(theirs.fileno(), 3)

        self.process = subprocess.Popen(
            [python, "-m", "cask.planner"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((PYTHON_ROOT, TESTS)), **(env or {})},
            pass_fds=(3, theirs.fileno()),
            preexec_fn=channel_to_fd_3,
        )
        theirs.close()

    def close(self):
        self.socket.close()
        assert self.process.wait(5) == 0

    def send(self, message, frames=None):
        frames = frames or dumps(message)
        sizes = [memoryview(frame).nbytes for frame in frames]
        count = len(sizes)
        head = struct.pack(f"<{2 + count}Q", 8 + 8 * count + sum(sizes), count, *sizes)
        self.socket.sendall(head + b"".join(frames))

    def _exactly(self, size):
        content = bytearray()
        while len(content) < size:
            got = self.socket.recv(min(size - len(content), 1 << 20))
            if not got:
                raise EOFError
            content += got
        return bytes(content)

    def receive(self):
        """The next message that is not a query or a change of interest: (fields, frames)."""
        while True:
            (count,) = struct.unpack("<8xQ", self._exactly(16))
            sizes = struct.unpack(f"<{count}Q", self._exactly(8 * count))
            frames = [self._exactly(size) for size in sizes]
            message = loads(frames, deserialize=False)
            if message["op"] == "query":
                self.asked.append(message["call"])
                if message["id"] is not None:
                    reply = self.answers(**message["call"])
                    self.send({"op": "answer", "id": message["id"], "reply": reply})
            elif message["op"] == "interest":
                self.interest = message
            else:
                return message, frames

    def request(self, op, **fields):
        """Send a request and wait for its reply."""
        number = next(self.numbers)
        self.send({"op": op, "id": number, **fields})
        while True:
            message, _ = self.receive()
            if message["op"] == "reply" and message["id"] == number:
                return message
            self.said.append(message)

    def run(self, function, *args, **kwargs):
        """As Client.run_on_scheduler: the function's result, or its exception raised."""
        from distributed.protocol import pickle as distributed_pickle

        wait = kwargs.pop("wait", True)
        message = self.request(
            "run_function",
            function=distributed_pickle.dumps(function),
            args=distributed_pickle.dumps(args),
            kwargs=distributed_pickle.dumps(kwargs),
            wait=wait,
        )
        return opened(message)

    def materialise(self, expression, **fields):
        """The flat graph of an expression, or the frames of its pickle, or the error message."""
        self.send_graph(expression, **fields)
        return self.receive_graph()

    def send_graph(self, expression, **fields):
        number = next(self.numbers)
        if not isinstance(expression, Serialized):
            expression = Serialized(*serialize(to_serialize(expression), on_error="raise"))
        fields = {name: ToPickle(value) for name, value in fields.items()}
        head = {"op": "materialise", "id": number, "as_arrays": self.as_arrays}
        self.send({**head, "expr_ser": expression, **fields})
        return number

    def receive_graph(self):
        graph = Graph()
        while True:
            fields, frames = self.receive()
            if fields["op"] == "graph-part":
                graph.add_part(fields, frames)
                continue
            assert fields["op"] == "graph"
            if fields["status"] != "OK":
                return fields
            if "pickle_at" in fields:
                return frames[fields["pickle_at"] :]
            graph.finish(fields, frames)
            return graph


def opened(message):
    """The result of a run_function reply; raises its exception."""
    if message["status"] == "error":
        raise pickle.loads(message["error"]["exception"])
    reply = message["reply"]
    value = reply["result" if reply["status"] == "OK" else "exception"]
    value = loads(dumps(value)) if isinstance(value, Serialized) else value
    if reply["status"] != "OK":
        raise pickle.loads(value)
    return value
