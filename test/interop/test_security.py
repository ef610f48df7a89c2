"""What docs/security.md promises of open ports and of files."""

import asyncio
import os
import pathlib
import stat

import harness
import pytest
from distributed.core import connect
from harness import Scheduler, eventually

pytestmark = pytest.mark.skipif(harness.KIND == "stock", reason="stock neither warns nor protects its files")
WARNING = "without TLS: anyone who can reach this port can run code on the workers"


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def start():
    """start(host, …) → a scheduler, once it has said all it says at the start"""
    schedulers = []

    def start(host, *options):
        scheduler = Scheduler(*options, host=host)
        schedulers.append(scheduler)
        eventually(lambda: "Scheduler at:" in scheduler.log(), 10, "it listens")
        return scheduler

    yield start
    for scheduler in schedulers:
        scheduler.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "ws://0.0.0.0"])
def test_an_open_port_is_warned_of(start, host):
    log = start(host).log()
    assert "WARNING - Listening on 0.0.0.0:" in log and WARNING in log


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "ws://127.0.0.1"])
def test_a_local_port_is_not(start, host):
    assert WARNING not in start(host).log()


def test_a_port_with_tls_is_not(start, certificate):
    cert, key = certificate
    log = start("tls://0.0.0.0", "--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key).log()
    assert WARNING not in log


def test_files_are_their_owners_alone(start, tmp_path):
    """Also where a file that everybody may read was there before"""
    pid, file = tmp_path / "pid", tmp_path / "scheduler.json"
    file.write_text("{}")
    file.chmod(0o666)
    start("127.0.0.1", "--pid-file", str(pid), "--scheduler-file", str(file))
    eventually(lambda: pid.exists() and "address" in file.read_text(), 10, "both are written")
    assert (mode(pid), mode(file)) == (0o600, 0o600)


def test_a_unix_socket_is_its_owners_alone(tmp_path):
    path = tmp_path / "socket"
    command = [*harness.SCHEDULER_CMD.split(), "--host", f"unix://{path}"]
    process = harness.Process("unix", command)
    try:
        eventually(path.exists, 10, "it listens")
        eventually(lambda: mode(path) == 0o600, 1, "the mode is set before anybody can connect")
        assert WARNING not in process.log()
    finally:
        process.close()


@pytest.mark.parametrize("format", ["msgpack", "yaml"])
def test_a_dump_is_its_owners_alone(client, tmp_path, format):
    url = f"file://{tmp_path}/dump"
    client.dump_cluster_state(url, write_from_scheduler=True, format=format)
    [dump] = tmp_path.iterdir()
    assert mode(dump) == 0o600

    def write(dask_scheduler, path):
        with open(path, "w") as file:
            return file.write("of a user's function")

    client.run_on_scheduler(write, path=str(tmp_path / "other"))
    mask = os.umask(0)
    os.umask(mask)
    assert mode(tmp_path / "other") == 0o666 & ~mask  # what users write is theirs to protect


def test_uploads_lie_where_only_their_owner_looks(client, tmp_path):
    module = tmp_path / "uploaded_secret.py"
    module.write_text("x = 1\n")
    client.upload_file(str(module))

    def where(dask_scheduler):
        import uploaded_secret

        return uploaded_secret.__file__

    folder = pathlib.Path(client.run_on_scheduler(where)).parent
    assert mode(folder) == 0o700


def test_names_neither_forge_log_lines_nor_command_terminals(start):
    scheduler = start("127.0.0.1")
    name = "evil\n2026-01-01 00:00:00,000 - distributed.scheduler - ERROR - forged\x1b[31m"

    async def register():
        comm = await connect(scheduler.address)
        await comm.write({"op": "register-client", "client": name, "reply": False, "versions": {}})
        await comm.read()
        await comm.close()

    asyncio.run(register())
    eventually(lambda: "Remove client evil" in scheduler.log(), 10)
    lines = scheduler.log().splitlines()
    assert [line for line in lines if "forged" in line]
    assert not [line for line in lines if line.startswith("2026-01-01") or "\x1b" in line]


@pytest.mark.parametrize("scheduler_has_tls", [True, False])
def test_tls_on_one_side_only_is_told(start, certificate, scheduler_has_tls):
    """in the logs of both sides, with what is wrong"""
    cert, key = certificate
    tls = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    scheduler = start("tls://127.0.0.1", *tls) if scheduler_has_tls else start("127.0.0.1")
    address = f"{'tcp' if scheduler_has_tls else 'tls'}://127.0.0.1:{scheduler.port}"
    options = ("--death-timeout", "1s", *(() if scheduler_has_tls else tls))
    worker = harness.Worker(address, "lost", *options, command=harness.CASK_WORKER)
    try:
        assert worker.wait(60) == 1
        plain = "does not speak TLS, and this end expects it"
        secure = "the peer speaks TLS and this end does not"
        assert (plain if scheduler_has_tls else secure) in scheduler.log()
        said = (secure, "does it expect TLS?") if scheduler_has_tls else (plain, "does it speak TLS?")
        assert any(words in worker.log() for words in said)
    finally:
        worker.close()
