"""Looking into the scheduler and the workers of a cluster from user code: read-only, on any thread.

On stock's LocalCluster `cluster.scheduler.tasks` is the scheduler's own dict. Here it is a view that asks
the scheduler's process. Answers come over a connection and a thread of their own, so that looking works
inside a cluster's event loop, too, and while that is busy.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dask.typing import no_default
from distributed.comm import connect
from distributed.core import send_recv
from distributed.protocol import deserialize

from cask.planner.snapshot import Snapshot
from cask.planner.state_view import StateView

# What was read holds so long at least, and as many times as long as reading took: a walk over a large
# state reads it once, and a loop that waits for a change sees it.
SECONDS_KEPT = 0.02
TIMES_KEPT = 5


class Link:
    """Calls operations of servers and waits for their answers. Connections are made at the first call."""

    def __init__(self, connection_args: dict[str, Any]):
        self._connection_args = connection_args
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._comms: dict[str, Any] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._is_closed = False

    def call(self, address: str, op: str, **arguments) -> Any:
        """What the operation gives; raises what it raises."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the cluster is closed: there is nothing to look at any more")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="cask-inspection", daemon=True
                )
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(self._call(address, op, arguments), loop).result()

    async def _call(self, address: str, op: str, arguments: dict) -> Any:
        async with self._turns.setdefault(address, asyncio.Lock()):
            comm = self._comms.get(address)
            if comm is None or comm.closed():
                # Errors of tasks stay as they came: their classes may not exist here.
                comm = await connect(address, deserialize=False, **self._connection_args)
                self._comms[address] = comm
            answer = await send_recv(comm, op=op, **arguments)
            if op == "get_data" and answer["status"] == "OK":
                await comm.write("OK")  # the worker waits to hear that all has come
            return answer

    async def _end(self) -> None:
        for comm in self._comms.values():
            comm.abort()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()


class SchedulerQueries:
    """Asks one scheduler."""

    def __init__(self, link: Link, address: str):
        self._link = link
        self._address = address
        self.longest = 0.0  # seconds

    def ask(self, op: str, **arguments) -> Any:
        begin = time.monotonic()
        try:
            return self._link.call(self._address, op, **arguments)
        finally:
            self.longest = max(self.longest, time.monotonic() - begin)


class AgingSnapshot(Snapshot):
    """Rows that hold for a moment; used by any thread."""

    def __init__(self, queries: SchedulerQueries):
        super().__init__(queries, lambda forget: None)
        self._lock = threading.RLock()
        self._begin = 0.0

    def _aged(self, read, *arguments):
        with self._lock:
            now = time.monotonic()
            if now > self._begin + max(SECONDS_KEPT, TIMES_KEPT * self._queries.longest):
                self.forget()
                self._begin = now
                self._queries.longest = 0.0
            return read(*arguments)

    def row(self, kind: str, name):
        return self._aged(super().row, kind, name)

    def rows(self, kind: str):
        return self._aged(super().rows, kind)

    def names(self, kind: str):
        return self._aged(super().names, kind)

    def whole(self, what: str):
        return self._aged(super().whole, what)


class SchedulerState(StateView):
    """`cluster.scheduler`, as far as its state goes."""

    def __init__(self, link: Link, address: str):
        queries = SchedulerQueries(link, address)
        super().__init__(queries, AgingSnapshot(queries))

    @property
    def processing(self) -> dict[str, set]:
        """Worker -> keys of the tasks that it has to do."""
        return {a: {ts.key for ts in ws.processing} for a, ws in self.workers.items()}

    def get_metadata(self, keys: list[str], default: Any = no_default) -> Any:
        absent = secrets.token_hex()  # no error of the scheduler's, whose class a Link would not tell
        value = self._queries.ask("get_metadata", keys=keys, default=absent)
        if value != absent:
            return value
        if default is no_default:
            raise KeyError(keys)
        return default


class WorkerData(Mapping):
    """What a worker holds: key -> value. A value is fetched when it is looked at."""

    def __init__(self, link: Link, address: str):
        self._link = link
        self._address = address

    def __iter__(self) -> Iterator:
        return iter(self._link.call(self._address, "keys"))

    def __len__(self) -> int:
        return len(self._link.call(self._address, "keys"))

    def __getitem__(self, key):
        reply = self._link.call(self._address, "get_data", keys=[key], who=None)
        if reply["status"] == "busy":
            raise RuntimeError(f"the worker at {self._address} sends to others now; try again")
        value = reply["data"][key]
        return deserialize(value.header, value.frames) if hasattr(value, "header") else value

    def __repr__(self) -> str:
        return f"<data of {self._address}: {len(self)} keys>"
