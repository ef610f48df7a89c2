"""Addresses and wires: IPv4 and IPv6, TLS, websockets, compression, hostile peers."""

import socket
import ssl
import struct

import numpy as np
import pytest
from distributed import Client
from harness import KIND, Worker, ask, eventually
from tasks import add, inc


def work(client):
    """A bit of everything that travels: small, large, between workers, failing"""
    x = client.submit(np.ones, 500_000, workers="a")
    y = client.submit(np.ones, 500_000, workers="b")
    assert client.submit(add, x, y).result().sum() == 1e6
    assert client.gather(client.map(inc, range(20))) == list(range(1, 21))
    with pytest.raises(ZeroDivisionError):
        client.submit(lambda: 1 / 0).result()
    assert client.scatter(np.arange(10)).result().sum() == 45
    assert len(client.run(lambda: 1)) == 2


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_ipv6(make_cluster, connect):
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    cluster = make_cluster("a", "b", host="[::1]")
    assert cluster.address.startswith("tcp://[::1]:")
    work(connect(cluster))


def test_all_interfaces(make_cluster, connect):
    """--host 0.0.0.0, or a host name: the scheduler's own idea of its address is reachable"""
    cluster = make_cluster(host="0.0.0.0")
    contact = f"tcp://127.0.0.1:{cluster.scheduler.port}"
    worker = Worker(contact, "a")
    try:
        client = connect(contact)
        assert client.submit(inc, 1).result(timeout=30) == 2
        own = client.scheduler_info()["address"]
        assert own.startswith("tcp://") and "0.0.0.0" not in own
    finally:
        worker.close()


def test_websockets(make_cluster, connect):
    cluster = make_cluster("a", "b", host="ws://127.0.0.1")
    assert cluster.address.startswith("ws://")
    work(connect(cluster))


def tls_options(certificate):
    cert, key = certificate
    return ["--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key]


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_encryption(make_cluster, connect, certificate, security, scheme):
    options = tls_options(certificate)
    cluster = make_cluster(
        "a",
        "b",
        host=f"{scheme}://127.0.0.1",
        scheduler_options=["--protocol", scheme, *options],
        options=options,
        security=security,
    )
    assert cluster.address.startswith(f"{scheme}://")
    work(connect(cluster))


def test_encryption_from_the_environment(make_cluster, connect, certificate, security):
    cert, key = certificate
    env = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": cert}
    for role in ("SCHEDULER", "WORKER"):
        env[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = cert
        env[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = key
    cluster = make_cluster("a", "b", host="tls://127.0.0.1", env=env, security=security)
    work(connect(cluster))


def test_tls_refuses_strangers(make_cluster, connect, certificate, security):
    cluster = make_cluster(
        host="tls://127.0.0.1", scheduler_options=tls_options(certificate), security=security
    )
    plain = cluster.address.replace("tls://", "tcp://")
    with pytest.raises(OSError):
        Client(plain, timeout=1, set_as_default=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, OSError)):  # no certificate of its own
        with socket.create_connection(("127.0.0.1", cluster.scheduler.port), 2) as raw:
            with context.wrap_socket(raw) as stranger:
                stranger.settimeout(5)
                assert stranger.recv(1) == b"x"
    assert connect(cluster).scheduler_info()["type"] == "Scheduler"


@pytest.mark.parametrize("name", ["lz4", "zstd", "zlib", "snappy", None])
def test_compression(make_cluster, connect, name):
    """What the client compresses with, the scheduler and the workers must read"""
    env = {"DASK_DISTRIBUTED__COMM__COMPRESSION": str(name)}
    import dask

    cluster = make_cluster("a", env=env)
    with dask.config.set({"distributed.comm.compression": name}):
        client = connect(cluster)
        text = "compresses well " * 100_000
        f = client.scatter({"text": text})["text"]
        assert client.submit(len, f).result() == len(text)
        assert client.submit(str.upper, text).result() == text.upper()
        client.log_event("topic", text)
        assert client.get_events("topic")[0][1] == text
        noise = np.random.default_rng(1).bytes(1_000_000)
        assert client.submit(bytes, noise).result() == noise


def watch_decompression(dask_worker):
    """Note how the frames of what comes from now on were compressed"""
    from distributed.protocol import core

    decompress = core.decompress
    dask_worker.seen_compressions = set()

    def noted(header, frames):
        dask_worker.seen_compressions.update(header["compression"])
        return decompress(header, frames)

    core.decompress = noted


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_compression_between_hosts(make_cluster, connect, name):
    """What goes to a worker on another host (as 127.0.0.2 seems to be) is compressed if it shrinks"""
    env = {"DASK_DISTRIBUTED__COMM__COMPRESSION": name}
    cluster = make_cluster(host="0.0.0.0", env=env)
    port = cluster.scheduler.port
    worker = Worker(f"tcp://127.0.0.2:{port}", "far", env=env)
    try:
        client = connect(f"tcp://127.0.0.1:{port}")
        client.wait_for_workers(1, timeout=30)
        assert client.submit(np.sum, np.ones(10)).result() == 10
        client.run(watch_decompression)
        noise = np.random.default_rng(1).random(100_000)
        assert client.submit(np.sum, noise).result() == np.sum(noise)
        assert client.submit(np.sum, np.ones(10)).result() == 10
        seen = [set(each) for each in client.run(lambda dask_worker: dask_worker.seen_compressions).values()]
        assert name not in seen[0]
        assert client.submit(np.sum, np.ones(1_000_000)).result() == 1_000_000
        seen = [set(each) for each in client.run(lambda dask_worker: dask_worker.seen_compressions).values()]
        assert name in seen[0]
    finally:
        worker.close()


HOSTILE = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length beyond reason": struct.pack("<Q", 2**62),
    "many frames": struct.pack("<QQ", 100, 2**60),
    "a frame longer than its message": struct.pack("<QQQ", 20, 1, 2**50) + b"x" * 100,
    "not msgpack": struct.pack("<QQQ", 20, 1, 4) + b"\xc1\xc1\xc1\xc1",
    "a deep message": struct.pack("<QQQ", 16 + 50_000, 1, 50_000) + b"\x91" * 50_000,
    "half a message": struct.pack("<QQQ", 1016, 1, 1000) + b"x" * 10,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bytes_disturb_nobody(cluster, client, what):
    f = client.submit(inc, 1)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", cluster.scheduler.port), 2) as hostile:
            hostile.sendall(HOSTILE[what])
    assert f.result(timeout=10) == 2
    assert cluster.scheduler.alive
    assert client.submit(inc, 10, pure=False).result(timeout=10) == 11


def test_unknown_operations_and_arguments(cluster, client):
    assert cluster.ask("no_such_operation") is None or KIND == "cask"
    with pytest.raises(Exception):
        cluster.ask("gather", nonsense=1)
    with pytest.raises(Exception):
        cluster.ask("replicate", keys=5)
    assert client.submit(inc, 1).result() == 2


def test_a_slow_reader_does_not_slow_others(cluster, client, connect):
    """A client that reads nothing for a while must not hold up the scheduler"""
    import threading

    other = connect(cluster)
    stop = threading.Event()
    other.loop.add_callback(lambda: stop.wait(5))  # its loop stands still
    futures = client.map(inc, range(500))
    assert client.gather(futures) == list(range(1, 501))
    stop.set()
    eventually(lambda: other.submit(inc, 1).result(timeout=5) == 2)


def test_many_connections(cluster, client):
    sockets = [socket.create_connection(("127.0.0.1", cluster.scheduler.port)) for _ in range(300)]
    try:
        assert client.submit(inc, 5).result(timeout=10) == 6
        assert ask(cluster.address, "identity")["type"] == "Scheduler"
    finally:
        for each in sockets:
            each.close()
