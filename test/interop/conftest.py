"""Fixtures: a cluster shared by all tests, clusters of one's own, clients; logs on failure.

A test that may hurt its cluster (kills, retires, restarts, configures) takes `make_cluster`;
all others share one scheduler with three stock workers, `alice`, `bob` and `carol`, one
thread each.  After every test on the shared cluster, once its client has gone, the scheduler
must have forgotten every task: a leak fails the test that caused it.
"""

import datetime
import ipaddress

import dask
import pytest
from distributed import Client
from distributed.security import Security

import harness

dask.config.set({"cask.dashboard.process": False})  # of schedulers that LocalCluster starts; test_observer.py turns it on
SHARED_WORKERS = ("alice", "bob", "carol")


def pytest_configure(config):
    for line in (
        "seed(*ids): promises of the seed texts (PROMISES.md) that the test checks",
        "stock_broken(reason): stock's scheduler gets this wrong; must pass on cask",
    ):
        config.addinivalue_line("markers", line)


def pytest_report_header():
    return f"scheduler under test: {harness.SCHEDULER_CMD} ({harness.KIND})"


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("stock_broken"):
            if harness.KIND == "stock":
                item.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=False))


def clip_traceback(longrepr):
    """Values of megabytes stand in messages and in source lines; what went wrong stands before them"""
    if getattr(longrepr, "reprcrash", None) is not None:
        longrepr.reprcrash.message = harness.clip(longrepr.reprcrash.message, 400)
    for traceback, *_ in getattr(longrepr, "chain", ()):
        for entry in traceback.reprentries:
            entry.lines[:] = [harness.clip(line) for line in entry.lines]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        clip_traceback(report.longrepr)
        report.sections[:] = [(title, harness.clip(text)) for title, text in report.sections]
        for process in harness.live:
            report.sections.append((f"log of {process.label}", harness.clip(process.log())))


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left():
    """However the tests end, their processes end"""
    yield
    for process in list(harness.live):
        process.close()


@pytest.fixture(autouse=True)
def no_default_scheduler_is_left():
    """A test whose client stays Dask's default scheduler would fail later ones that compute"""
    yield
    left = dask.config.config.pop("scheduler", None)
    assert left is None, f"scheduler={left!r} was left in Dask's configuration"


class Shared:
    """The cluster that most tests use; made again when a test has broken it"""

    def __init__(self):
        self.cluster = None

    def get(self):
        if self.cluster is not None and not self.cluster.healthy:
            self.close()
        if self.cluster is None:
            try:
                cluster = self.cluster = harness.Cluster()
            except harness.Ended as ended:
                pytest.exit(f"no scheduler to test: {ended}", 3)
            cluster.start_workers("alice", "bob", wait=False)
            cluster.start_workers("carol", wait=False, options=["--resources", "GPU=2"])
            cluster.wait_for(*SHARED_WORKERS)
        return self.cluster

    def close(self):
        if self.cluster is not None:
            self.cluster.close()
            self.cluster = None


@pytest.fixture(scope="session")
def _shared():
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture
def cluster(_shared):
    """Three workers of one thread: alice, bob, carol (who has GPU=2)"""
    cluster = _shared.get()
    yield cluster
    harness.eventually(cluster.empty, 10, "the scheduler forgot all tasks")


@pytest.fixture
def client(cluster):
    with Client(cluster.address, timeout=10) as client:
        yield client


@pytest.fixture
def a(cluster):
    """Address of alice"""
    return cluster.addresses()["alice"]


@pytest.fixture
def b(cluster):
    return cluster.addresses()["bob"]


@pytest.fixture
def c(cluster):
    return cluster.addresses()["carol"]


@pytest.fixture
def make_cluster():
    """make_cluster(*workers, …) → a cluster of the test's own; see harness.Cluster"""
    clusters = []

    def make(
        *workers, scheduler_options=(), host="127.0.0.1", ports=(), env=None, security=None, **kwargs
    ):
        cluster = harness.Cluster(
            *scheduler_options, host=host, ports=ports, env=env, security=security
        )
        clusters.append(cluster)
        if workers:
            cluster.start_workers(*workers, **kwargs)
        return cluster

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def connect():
    """connect(cluster, …) → a Client that is closed with the test, the newest first: in another
    order stock's clients leave themselves behind as Dask's default scheduler"""
    clients = []

    def connect(target, **kwargs):
        security = getattr(target, "security", None)
        address = getattr(target, "address", target)
        kwargs.setdefault("timeout", 10)
        client = Client(address, security=security, **kwargs)
        clients.append(client)
        return client

    yield connect
    for client in reversed(clients):
        client.close()


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """The current directory is one of the test's own"""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def kind():
    """"cask" or "stock": for what stock is known to do otherwise"""
    return harness.KIND


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate that vouches for itself: (certificate file, key file)"""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "interop")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(directory / "cert.pem"), str(directory / "key.pem")


@pytest.fixture
def security(certificate):
    cert, key = certificate
    return Security(
        tls_ca_file=cert,
        tls_client_cert=cert,
        tls_client_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
        require_encryption=True,
    )
