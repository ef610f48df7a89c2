"""``python -m cask.planner``: serves the scheduler at fd 3 until it closes the channel.

Three kinds of thread: the main one runs the event loop and all that users run on the scheduler; one
reads the channel; a few materialise graphs. So an answer is read while user code waits for it, and
no request waits for a long graph.

What plain graphs need is imported at the start; distributed and the event loop, which take twice as long,
when something else is asked for; all that collections name ahead of need, if the scheduler says so.
"""

from __future__ import annotations

import gc

gc.disable()  # imports make nothing that it would find

from cask.paths import extend_path  # noqa: E402

extend_path()

import os  # noqa: E402
import queue  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402

import msgpack  # noqa: E402

from cask.planner import cull, spec_pickle  # noqa: E402
from cask.planner.channel import Channel, ChannelClosed  # noqa: E402
from cask.planner.graph_jobs import GraphJobs  # noqa: E402
from cask.planner.materialise import collector_pause  # noqa: E402
from cask.planner.prewarm import Prewarm  # noqa: E402

CHANNEL_FD = 3


class Inbox:
    """Messages on their way from the reader to the main thread's event loop, once there is one."""

    def __init__(self):
        self._first: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._loop = None
        self._deliver = None

    def put(self, message) -> None:
        """Hand on a message, or None: no more will come. The reader's thread."""
        with self._lock:
            if self._loop is None:
                self._first.put(message)
            else:
                self._loop.call_soon_threadsafe(self._deliver, message)

    def wait(self):
        """The first message."""
        return self._first.get()

    def attach(self, loop, deliver) -> None:
        """From now on `deliver` is called on the loop with each message. The loop's thread."""
        with self._lock:
            while not self._first.empty():
                loop.call_soon(deliver, self._first.get())
            self._loop, self._deliver = loop, deliver


class Reader(threading.Thread):
    """Gives each message to who handles it, until the channel ends."""

    def __init__(self, channel: Channel, graphs: GraphJobs, prewarm: Prewarm):
        super().__init__(name="channel", daemon=True)
        self._channel = channel
        self._graphs = graphs
        self._prewarm = prewarm
        self.inbox = Inbox()
        self.queries = None  # of the user side, once there is one: only it asks

    def run(self) -> None:
        try:
            while True:
                self._take(self._channel.read())
        except ChannelClosed:
            pass
        finally:
            self._prewarm.end()
            if self.queries is not None:
                self.queries.close()
            self.inbox.put(None)

    def _take(self, frames: list) -> None:
        head = msgpack.unpackb(frames[0], use_list=False, strict_map_key=False)
        op, number = head["op"], head["id"]
        if op == "answer":
            self.queries.answered(frames)
        elif op == "materialise":
            self._graphs.submit(number, frames)
        else:
            if op != "prewarm":
                self._prewarm.end()
            self.inbox.put((op, number, frames))


def _first_request(inbox: Inbox, prewarm: Prewarm):
    """What must run on the main thread; until it comes, modules are imported ahead of need."""
    first = inbox.wait()
    if first is not None and first[0] == "prewarm":
        with collector_pause.held():
            prewarm.run()
        first = inbox.wait()
    return first


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the scheduler, which ends us
    peer = socket.socket(fileno=CHANNEL_FD)
    peer.set_inheritable(False)
    cull.install()
    spec_pickle.install()
    channel = Channel(peer)
    prewarm = Prewarm()
    reader = Reader(channel, GraphJobs(channel, prewarm), prewarm)
    gc.freeze()  # what was imported stays: no need to look at it
    gc.enable()
    reader.start()
    first = _first_request(reader.inbox, prewarm)
    if first is not None:
        with collector_pause.held():
            from cask.planner.user_side import serve
        serve(channel, reader, first)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nobody waits for graphs that are still being made


if __name__ == "__main__":
    main()
