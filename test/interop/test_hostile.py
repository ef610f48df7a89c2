"""Malformed input on the port ends that one connection at most; the scheduler and its other peers go on.

Every operation of wire/messages.def is sent with fields of random types and values, over RPC connections,
client streams and worker streams; and bytes that are no protocol at all. Seeded: a failure can be repeated.
"""

import json
import pathlib
import random
import socket
import struct
import subprocess
import threading

import harness
import msgpack
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HANDSHAKE = {"compression": None, "python": [3, 11, 7], "pickle-protocol": 5}
# Orders that rightly end or change things when anybody gives them, and what would only make the test wait.
NOT_SENT = {
    "terminate", "close", "restart", "restart_workers", "retire_workers", "register_worker_plugin",
    "register_nanny_plugin", "feed", "benchmark_hardware", "run_function",
}  # fmt: skip


def table():
    """The messages a scheduler takes: (op, is stream, fields)"""
    command = [ROOT / "build/cask", "internals", "messages", "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [
        (row["op"], row["port"] == "SCHEDULER_STREAM", row["fields"])
        for row in rows
        if row["port"] in ("SCHEDULER_RPC", "SCHEDULER_STREAM") and row["op"] not in NOT_SENT
    ]


def frames_of(*frames):
    head = struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames))
    return struct.pack("<Q", len(head) + sum(map(len, frames))) + head + b"".join(frames)


def pack(value):
    return frames_of(msgpack.packb(value, use_bin_type=True))


def anything(rng, depth=0):
    """A random value: mostly small, sometimes a key, a placeholder or a set"""
    choices = [
        None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64 - 1, 0.5, float("inf"), float("nan"), -1e308,
        "", "x-1", "tcp://127.0.0.1:1", "nonsense://", "\u2028 é", "a" * 300, b"", b"\x80\x05N.", b"\xff" * 40,
        {"__Serialized__": rng.randrange(4)}, {"__Pickled__": rng.randrange(4)},
        {"__Set__": True, "as-list": ["x-1", 2]}, {"__Enum__": True, "name": "x"},
    ]
    if depth < 3 and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {
            rng.choice(["x-1", "memory", "workers", "total", "name", 1, 2.5]): anything(rng, depth + 1)
            for _ in range(rng.randrange(4))
        }
    return rng.choice(choices)


def plausible(rng, field):
    """A value of the field's own type, so that the message gets past the decoder"""
    kind = field["type"]
    if kind == "STR":
        return rng.choice(["x", "tcp://127.0.0.1:9", "running", "", "hostile", "nosuch"])
    if kind == "KEY":
        return rng.choice(["x-1", 5, ["t", 0], 1.5])
    if kind == "KEYS":
        return [rng.choice(["x-1", "y", ["t", 1], 7]) for _ in range(rng.randrange(4))]
    if kind == "INT":
        return rng.choice([0, 1, -1, 3, 2**40, -(2**40)])
    if kind == "FLOAT":
        return rng.choice([0.0, 0.1, -1.0, 1e18])
    if kind == "BOOL":
        return rng.random() < 0.5
    if kind == "BIN":
        return rng.choice([b"", b"\x80\x05N.", b"junk"])
    return anything(rng)


def message(rng, row):
    op, _, fields = row
    body = {"op": op}
    for field in fields:
        chance = rng.random()
        if chance < 0.1:
            continue
        body[field["name"]] = anything(rng) if chance < 0.35 else plausible(rng, field)
    if rng.random() < 0.1:
        body["surprise"] = anything(rng)
    return body


def peer(address):
    host, port = address.split("://")[1].rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(pack(HANDSHAKE))
    return connection


def swallow(connection):
    """Read what comes until nothing does; errors are the peer's right"""
    connection.settimeout(0.05)
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
    connection.close()


def send(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        pass  # refused earlier: that is what is wanted


def hostile_rpcs(rng, address, rows):
    for row in rows:
        connection = peer(address)
        send(connection, pack({**message(rng, row), "reply": True}))
        swallow(connection)


def hostile_client(rng, address, rows):
    connection = peer(address)
    send(connection, pack({"op": "register-client", "client": f"hostile-{rng.random()}", "reply": False}))
    send(connection, pack([message(rng, row) for row in rows]))
    swallow(connection)


def hostile_worker(rng, address, rows):
    connection = peer(address)
    metrics = {"memory": 1, "spilled_bytes": {"memory": 0, "disk": 0}, "bandwidth": {"total": 1, "workers": {}, "types": {}}}
    send(connection, pack({
        "op": "register-worker", "reply": False, "address": f"tcp://127.0.0.1:{rng.randrange(1, 9)}",
        "status": "init", "nthreads": 1, "name": f"hostile-{rng.random()}", "now": 0.0, "resources": {},
        "memory_limit": 1, "local_directory": "", "services": {}, "nanny": None, "versions": {},
        "metrics": metrics, "extra": {}, "stimulus_id": "s", "server_id": "w",
    }))  # fmt: skip
    send(connection, pack([message(rng, row) for row in rows]))
    swallow(connection)


def noise(rng, address):
    """Bytes that are no messages: cut, stretched, damaged, or not Dask's at all"""
    good = pack({"op": "identity", "reply": True})
    damaged = bytearray(good)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    for data in (
        rng.randbytes(rng.randrange(1, 400)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        good[: rng.randrange(len(good))],
        struct.pack("<QQ", 2**63, 2**62),
        struct.pack("<3Q", 24, 1, 2**60) + b"x" * 100,
        struct.pack("<2Q", 8, 0),
        bytes(damaged),
        frames_of(b"\x81" * 100_000),
        frames_of(b"\xc1"),
        frames_of(b"", b"", b""),
        frames_of(msgpack.packb({"op": "scatter", "data": {"x": {"__Serialized__": 1}}, "workers": None}), b"\x81\xaenum-sub-frames\xcf" + b"\xff" * 8),
    ):
        connection = peer(address) if rng.random() < 0.7 else socket.create_connection(
            tuple(address.split("://")[1].rsplit(":", 1)), timeout=10
        )
        send(connection, data)
        swallow(connection)


@pytest.mark.timeout(240)
def test_hostile_peers_disturb_nobody(make_cluster, connect):
    """A client computes all the while; afterwards the scheduler is the same process and answers."""
    if harness.KIND == "stock":
        pytest.skip("of cask's own decoders")
    cluster = make_cluster("alice")
    client = connect(cluster)
    results, stop = [], threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            results.append(client.submit(lambda x: x + 1, number, pure=False).result(timeout=60) == number + 1)
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    rows = table()
    rpcs = [row for row in rows if not row[1]]
    streams = [row for row in rows if row[1]]
    try:
        for seed in range(3):
            rng = random.Random(seed)
            hostile_rpcs(rng, cluster.address, rng.sample(rpcs, len(rpcs)))
            for _ in range(20):
                hostile_client(rng, cluster.address, rng.sample(streams, 3))
                hostile_worker(rng, cluster.address, rng.sample(streams, 3))
            noise(rng, cluster.address)
    finally:
        stop.set()
        worker.join()
    assert len(results) > 10 and all(results)
    assert cluster.scheduler.alive
    assert set(cluster.addresses()) >= {"alice"}
    assert client.submit(sum, [1, 2]).result(timeout=30) == 3
