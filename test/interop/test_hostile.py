"""Malformed input on a port ends that one connection at most; the scheduler and its other peers go on.

Every operation of wire/messages.def is sent with fields of random types and values, over RPC connections,
client streams and worker streams; bytes that are no protocol at all; and peers that only take up room: that say
nothing, never read, promise what they do not send, or come by the hundred. Seeded: a failure can be repeated.
"""

import contextlib
import os
import pathlib
import re
import resource
import socket
import struct
import threading
import time

import harness
import hostile_peers
import pytest
from harness import eventually
from hostile_peers import Gate, packed, vanish, ws_frame

pytestmark = [
    pytest.mark.skipif(harness.KIND == "stock", reason="of cask's own decoders and limits"),
    pytest.mark.timeout(240),
]
NETWORK = ("tcp", "tls", "ws", "wss")
MB = 1_000_000
# AddressSanitizer keeps what was freed for a while, and puts room around everything.
BALLAST = 5 if "asan" in harness.SCHEDULER_CMD else 1


class Fortress:
    """A scheduler that listens on every transport of the network; a client computes over one of them all the while"""

    def __init__(self, make_cluster, connect, certificate, env=None):
        cert, key = certificate
        ports = [harness.free_port() for _ in NETWORK]
        self.cluster = make_cluster(
            "alice",
            env=env,
            ports=ports,
            scheduler_options=[
                *("--protocol", ",".join(NETWORK)),
                *("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key),
            ],
        )
        self.gates = {
            scheme: Gate(f"{scheme}://127.0.0.1:{port}", certificate)
            for scheme, port in zip(NETWORK, ports, strict=True)
        }
        self.client = connect(self.cluster)
        self.process = self.cluster.scheduler

    @contextlib.contextmanager
    def at_work(self):
        """Results come all the while, and afterwards"""
        stop, results = threading.Event(), []

        def work():
            while not stop.is_set() or len(results) <= 3:
                number = len(results)
                result = self.client.submit(lambda x: x + 1, number, pure=False).result(timeout=60)
                results.append(result == number + 1)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
        assert len(results) > 3 and all(results)
        self.check()

    def check(self):
        assert self.process.alive
        assert set(self.cluster.addresses()) >= {"alice"}
        assert self.client.submit(sum, [1, 2]).result(timeout=30) == 3
        for gate in self.gates.values():
            assert b"Scheduler" in gate.ask({"op": "identity"})

    @property
    def resident(self):
        """Bytes of memory that the scheduler has"""
        return status_of(self.process.pid)

    @property
    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def status_of(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s*(\d+) kB", status)[1])


@pytest.fixture
def make_fortress(make_cluster, connect, certificate):
    return lambda **env: Fortress(make_cluster, connect, certificate, env)


@pytest.fixture
def unix_gate(tmp_path):
    """Stock has no such transport, so nobody but us is there"""
    path = tmp_path / "scheduler.sock"
    environment = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    process = harness.Process("unix", [*harness.SCHEDULER_CMD.split(), "--host", f"unix://{path}"], environment)
    gate = Gate(f"unix://{path}")
    eventually(lambda: b"Scheduler" in gate.ask({"op": "identity"}), 30, "the scheduler listens")
    yield gate
    assert b"Scheduler" in gate.ask({"op": "identity"})
    assert process.alive
    process.close()


def test_hostile_peers_disturb_nobody(make_fortress):
    fortress = make_fortress()
    with fortress.at_work():
        hostile_peers.rounds(fortress.gates["tcp"], seed=1, count=2)
        for seed, scheme in enumerate(NETWORK[1:]):
            hostile_peers.rounds(fortress.gates[scheme], seed)


def test_hostile_peers_on_a_unix_socket(unix_gate):
    hostile_peers.rounds(unix_gate, seed=1)


def test_strangers_without_a_certificate(make_fortress):
    """TLS ports: noise before the handshake, handshakes broken off"""
    fortress = make_fortress()
    with fortress.at_work():
        for scheme in ("tls", "wss"):
            for data in (b"", b"\x16\x03\x01\x40\x00" + b"\x01" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 30_000):
                for end in (vanish, hostile_peers.swallow):
                    connection = fortress.gates[scheme].socket()
                    hostile_peers.send(connection, data)
                    end(connection)


def half_open(gate):
    """Connections that stop at each point on the way in"""
    yield gate.socket()
    cut = gate.dial()
    cut.sendall(gate.pack(hostile_peers.HANDSHAKE)[:-3])
    yield cut
    yield gate.dial()


def is_ended(connection):
    connection.settimeout(0.01)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def see_them_end(connections, slow, data, seconds):
    """All get cut off, also the slow one, who says a little of `data` now and then"""
    pace = iter(data)

    def all_ended():
        with contextlib.suppress(OSError, StopIteration):
            slow.sendall(bytes([next(pace)]))
        return all(map(is_ended, connections))

    eventually(all_ended, seconds, "half-open connections are cut off")


def test_half_open_connections_are_cut_off(make_fortress):
    """After distributed.comm.timeouts.connect, as stock does"""
    fortress = make_fortress(DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s")
    files = fortress.files
    for scheme in NETWORK:
        gate = fortress.gates[scheme]
        connections = [each for _ in range(20) for each in half_open(gate)]
        slow = connections[-1]
        with fortress.at_work():
            see_them_end(connections, slow, gate.pack(hostile_peers.HANDSHAKE), 20)
        for each in connections:
            each.close()
    eventually(lambda: fortress.files <= files + 8, 10, "their files are closed")


def test_half_open_connections_on_a_unix_socket(unix_gate):
    connections = [each for _ in range(20) for each in half_open(unix_gate)]
    see_them_end(connections, connections[-1], unix_gate.pack(hostile_peers.HANDSHAKE), 20)
    for each in connections:
        each.close()


def test_more_connections_than_files(make_fortress):
    """At the limit of open files who is there is served, who comes waits, and the log says so once"""
    fortress = make_fortress()
    limit = fortress.files + 60
    _, most = resource.prlimit(fortress.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(fortress.process.pid, resource.RLIMIT_NOFILE, (limit, most))
    gates = list(fortress.gates.values())
    crowd = [gates[i % len(gates)].socket() for i in range(1000)]
    warning = "connections have to wait"
    eventually(lambda: warning in fortress.process.log(), 20, "the lack is told")
    f = fortress.client.submit(sum, [1, 2], pure=False)
    assert f.result(timeout=30) == 3  # those who were there before
    time.sleep(1)  # it would tell again every 0.1 s
    assert fortress.process.log().count(warning) <= len(gates)  # once a port
    assert fortress.files <= limit
    for each in crowd:
        each.close()
    resource.prlimit(fortress.process.pid, resource.RLIMIT_NOFILE, (most, most))
    fortress.check()


@pytest.mark.parametrize("scheme", NETWORK)
def test_thousands_of_connections(make_fortress, scheme):
    """They cost little each, and nothing once they are gone"""
    fortress = make_fortress()
    files, before = fortress.files, fortress.resident
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(3000, hard - 200) if scheme in ("tcp", "ws") else 300
    try:
        with fortress.at_work():
            crowd = [fortress.gates[scheme].peer() for _ in range(count)]
            eventually(lambda: fortress.files >= files + count, 30, "all are accepted")
            each_costs = 200_000 if scheme in ("tls", "wss") else 20_000
            assert fortress.resident - before < BALLAST * (20 * MB + each_costs * count)
            for i, each in enumerate(crowd):
                vanish(each) if i % 2 else each.close()
            eventually(lambda: fortress.files <= files + 8, 30, "all are gone")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def promise(gate, size):
    """The beginning of a message that declares one frame of `size` bytes"""
    if gate.is_ws:
        return ws_frame(struct.pack("<Q", 1)) + ws_frame(b"", size=size)
    return struct.pack("<3Q", 16 + size, 1, size)


@pytest.mark.parametrize("scheme", NETWORK)
def test_declared_lengths_reserve_no_memory(make_fortress, scheme):
    """16 GB are declared, within the limits, by each of 50; a little of it comes"""
    fortress = make_fortress()
    gate = fortress.gates[scheme]
    with fortress.at_work():
        before = fortress.resident
        crowd = [gate.peer() for _ in range(50)]
        for each in crowd:
            each.sendall(promise(gate, 16_000 * MB) + b"\0" * 100_000)
        time.sleep(0.5)
        assert fortress.resident - before < 500 * MB
        for each in crowd:
            vanish(each)


def test_declared_lengths_on_a_unix_socket(unix_gate):
    crowd = [unix_gate.peer() for _ in range(50)]
    for each in crowd:
        each.sendall(promise(unix_gate, 16_000 * MB) + b"\0" * 100_000)
    assert b"Scheduler" in unix_gate.ask({"op": "identity"})
    for each in crowd:
        vanish(each)


def fill(connection, data, count):
    """Send `data` up to `count` times, until the other side takes no more; how often it took it"""
    connection.settimeout(2)
    for done in range(count):
        try:
            connection.sendall(data)
        except OSError:
            return done
    return count


@pytest.mark.parametrize("scheme", NETWORK)
def test_a_peer_that_never_reads_is_not_listened_to(make_fortress, scheme):
    """Its answers fill a bounded queue; then the scheduler stops reading from it"""
    fortress = make_fortress()
    gate = fortress.gates[scheme]
    echo = gate.pack({"op": "echo", "data": b"x" * MB, "reply": True})
    with fortress.at_work():
        before = fortress.resident
        connections = [gate.peer() for _ in range(2)]
        for each in connections:
            assert 10 < fill(each, echo, 400) < 400
        assert fortress.resident - before < 600 * MB
        for each in connections:
            vanish(each)


def test_a_stream_that_ends_in_the_middle_of_a_message(make_fortress):
    """Registered as a client, then gone without a word, in each way"""
    fortress = make_fortress()

    def clients():
        return str(fortress.cluster.ask("get_cluster_state", exclude=["tasks", "events"]))

    with fortress.at_work():
        for gate in fortress.gates.values():
            for end in (vanish, socket.socket.close):
                name = f"half-{gate.scheme}-{end.__name__}"
                connection = gate.peer()
                connection.sendall(gate.pack({"op": "register-client", "client": name, "reply": False}))
                eventually(lambda: name in clients(), 10, "it is a client")
                body = packed([{"op": "client-releases-keys", "keys": ["x"], "client": name}])
                connection.sendall(gate.encode(body)[:-5])
                end(connection)
    eventually(lambda: "half-" not in clients(), 10, "they are gone")
