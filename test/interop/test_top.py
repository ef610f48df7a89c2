"""`cask top`: on a terminal (a pty) and once, over the dashboard of a real cluster."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import termios

import pytest
from distributed import Client
from harness import KIND, SCHEDULER_CMD, Cluster, clean_environment, eventually
from tasks import inc

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no top")

ON = {"DASK_CASK__DASHBOARD__PROCESS": "True", "DASK_CASK__DASHBOARD__LINGER": "0s"}
CASK = shlex.split(SCHEDULER_CMD)[0]
EVIL = "evil\x1b[2Jmessage"


def fail(x):
    raise ValueError(EVIL)


@pytest.fixture(scope="module")
def busy():
    """A cluster that has run something, and failed at something"""
    cluster = Cluster(env=ON)
    try:
        cluster.start_workers("a", nthreads=2)
        with Client(cluster.address, set_as_default=False) as client:
            futures = client.map(inc, range(30), key=[("inc-many", i) for i in range(30)])
            futures.append(client.submit(fail, 1, key="fail-1"))
            client.gather(futures, errors="skip")
            yield cluster, futures
    finally:
        cluster.close()


def url_of(cluster):
    port = cluster.ask("identity", n_workers=0)["services"]["dashboard"]
    return f"http://127.0.0.1:{port}"


def once(*arguments, env=None):
    return subprocess.run(
        [CASK, "top", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=clean_environment({"LC_ALL": "C.UTF-8", **(env or {})}),
    )


class Terminal:
    """`cask top` on a pty, and a rough picture of what it shows: text at the places where it was put"""

    def __init__(self, *arguments, width=80, height=24, env=None):
        self.width, self.height = width, height
        self.rows = {}
        self.raw = b""
        environment = clean_environment(
            {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], **(env or {})}
        )
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(CASK, [CASK, "top", *arguments], environment)
        self.status = None
        self.resize(width, height)

    def resize(self, width, height):
        self.width, self.height = width, height
        self.rows = {}
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self):
        """What came meanwhile; False at the end"""
        while select.select([self.fd], [], [], 0)[0]:
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                return False
            if not got:
                return False
            self.raw += got
        return True

    def picture(self):
        """The rows, as a terminal would have them"""
        self.read()
        text = self.raw.decode(errors="replace")
        cells, row, column = {}, 0, 0
        for match in re.finditer(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", text):
            numbers, what, character = match.groups()
            if character is not None:
                cells[row, column] = character
                column += 1
            elif what == "H":
                row, column = (int(n) - 1 for n in numbers.split(";"))
            elif what == "J":
                cells = {}
        return "\n".join(
            "".join(cells.get((y, x), " ") for x in range(self.width)).rstrip() for y in range(self.height)
        )

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def shows(self, text):
        eventually(lambda: text in self.picture(), 60, f"the terminal shows {text!r}")
        return self.picture()

    def mode(self):
        return termios.tcgetattr(self.fd)

    def end(self):
        """Wait for its end; the exit code"""

        def ended():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            return pid

        eventually(ended, 60, "cask top ends")
        self.read()
        return os.waitstatus_to_exitcode(self.status)

    def close(self):
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(*arguments, **options):
    on = Terminal(*arguments, **options)
    try:
        yield on
    finally:
        on.close()


def child_of(pid):
    return int(open(f"/proc/{pid}/task/{pid}/children").read().split()[0])


LEFT = b"\x1b[?7h\x1b[?25h\x1b[?1049l"


def test_pages(busy):
    """Somebody looks at every page on a small terminal without colour, filters, opens a failure and quits"""
    cluster, _ = busy
    with terminal(cluster.address, env={"NO_COLOR": "1"}) as top:
        picture = top.shows("here 1")
        assert "running" in picture and cluster.address in picture
        assert len(picture.splitlines()) == 24
        top.shows("x failure")  # the stream in small
        top.press("w")
        assert re.search(r"> a +running +2 ", top.shows("> a"))
        top.press("g")
        top.shows("inc-many")
        top.press("4")
        picture = top.shows("ValueError")
        assert "evil\\x1b[2Jmessage" in picture
        top.press("\r")
        assert "fail-1" in top.shows("raise ValueError")
        top.press("\x1b[D5")
        top.shows("STREAM")
        top.press("?")
        top.shows("Any key goes back.")
        top.press(" ")
        top.press("f/nothing-like-it\r")
        top.shows("Nothing matches the filter")
        top.press("\x1bq")
        assert top.end() == 0
        assert top.raw.endswith(LEFT)
        assert b"\x1b[2Jmessage" not in top.raw
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", top.raw)


def test_resize(busy):
    """The window is made larger: the picture fills it"""
    cluster, _ = busy
    with terminal(url_of(cluster)) as top:
        top.shows("here 1")
        top.resize(120, 40)
        eventually(lambda: "q quit" in top.picture().splitlines()[-1], 60, "the last of 40 rows has the keys")
        top.press("q")
        assert top.end() == 0


@pytest.mark.parametrize("how", ["ctrl-c", "term", "kill child", "crash"])
def test_terminal_is_put_back(busy, how):
    """However it ends, the terminal is as it was before: its mode, its screen, its cursor"""
    cluster, _ = busy
    with terminal(url_of(cluster)) as top:
        before = top.mode()
        top.shows("here 1")
        assert top.mode() != before
        if how == "ctrl-c":
            top.press("\x03")
        elif how == "term":
            os.kill(top.pid, signal.SIGTERM)
        else:
            os.kill(child_of(top.pid), signal.SIGKILL if how == "kill child" else signal.SIGSEGV)
        code = top.end()
        assert code == {"ctrl-c": 0, "term": 128 + 15, "kill child": 128 + 9, "crash": 128 + 11}[how]
        assert LEFT in top.raw
        assert top.mode() == before


def test_parent_is_killed(busy):
    """The guard itself is killed: its child puts the terminal back and ends"""
    cluster, _ = busy
    with terminal(url_of(cluster)) as top:
        top.shows("here 1")
        os.kill(top.pid, signal.SIGKILL)
        top.end()
        eventually(lambda: not top.read(), 60, "nobody has the terminal any more")
        assert LEFT in top.raw


def test_once(busy):
    """No terminal: the overview as plain text; --json: what the interface has"""
    cluster, _ = busy
    shown = once(cluster.address)
    assert shown.returncode == 0, shown.stderr
    assert "here 1" in shown.stdout and "failed 1" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert len(shown.stdout.splitlines()) == 24
    plain = once(cluster.address, env={"LC_ALL": "C"})
    assert plain.returncode == 0 and plain.stdout.isascii()
    answer = once("--json", url_of(cluster))
    assert answer.returncode == 0, answer.stderr
    whole = json.loads(answer.stdout)
    assert sorted(whole) == ["failures", "groups", "summary", "workers"]
    assert whole["summary"]["workers"]["total"] == 1
    assert [worker["name"] for worker in whole["workers"]] == ["a"]
    assert [failure["type"] for failure in whole["failures"]] == ["ValueError"]


def test_no_dashboard(cluster):
    """A scheduler without a dashboard, an address where nobody is, a URL that is none: said, and exit code 1"""
    assert cluster.address in once(cluster.address).stderr
    for where in "http://127.0.0.1:1", "http://", "tcp://127.0.0.1:1":
        shown = once(where, "--timeout", "5s")
        assert shown.returncode == 1 and shown.stderr.startswith("cask top: "), where


def test_scheduler_dies():
    """The scheduler is killed while somebody looks: the page stays and says so"""
    cluster = Cluster(env={**ON, "DASK_CASK__DASHBOARD__LINGER": "60s"})
    try:
        with terminal(url_of(cluster)) as top:
            top.shows("running")
            observer = child_of(cluster.scheduler.pid)
            os.kill(cluster.scheduler.pid, signal.SIGKILL)
            top.shows("died")
            os.kill(observer, signal.SIGTERM)
            top.shows("NOT CONNECTED")
            top.press("q")
            assert top.end() == 0
    finally:
        cluster.close()
