"""The nanny as user code sees it: NannyPlugin, preload modules, ``client.run(..., nanny=True)``.

A stock Nanny object that never listens and starts no process: plugins, calls and preload modules
work as in Dask; ending and restarting the worker is asked of the real one. What plugins put into
the environment, into ``nanny.env`` or into ``sys.path`` is told to it: executors begin with that,
as a stock worker does that its nanny starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import distributed.nanny
from distributed.comm import get_address_host
from distributed.core import Status
from distributed.proctitle import setproctitle
from distributed.protocol import dumps

from cask.executor import channel
from cask.executor.channel import pack_bytes, pack_payload
from cask.executor.worker import directory_given, security_of

logger = logging.getLogger("distributed.nanny")


class _WorkerProcess:
    """``nanny.process``: the worker, which runs as long as this does."""

    def __init__(self, settings: dict):
        self.pid = settings["worker_pid"]
        self.worker_address = settings["address"]
        self.worker_dir = settings["local_directory"]
        self.status = Status.running

    def is_alive(self) -> bool:
        return True


class Nanny(distributed.nanny.Nanny):
    """See the module. Made on the loop's thread."""

    def __init__(self, settings: dict, out: channel.Channel, ask):
        self._out = out
        self._ask = ask
        self._told: dict | None = None
        environ_before = dict(os.environ)
        path_before = list(sys.path)
        base = os.path.dirname(settings["local_directory"])  # that of all workers here, as in stock
        with directory_given(base):
            super().__init__(
                settings["scheduler"],
                nthreads=settings["nthreads"],
                name=settings.get("name"),
                local_directory=base,
                security=security_of(settings.get("tls")),
                memory_limit=settings["memory_limit"],
                preload_nanny=settings.get("preload") or None,
                host=get_address_host(settings["address"]),
            )
        self._environ_before = {**environ_before, **self.env}
        self._path_before = {*path_before, self.local_directory}
        self.process = _WorkerProcess(settings)
        self.id = settings["id"]
        self._address = settings["nanny"]
        self.ip = get_address_host(self.address)
        self.status = Status.running
        setproctitle(f"dask nanny [{self.address}]")

    def apply(self, settings: dict) -> None:
        """What changed: the worker's address."""
        self.process.worker_address = settings.get("address", self.process.worker_address)

    async def begin(self) -> dict:
        """Load what is to be loaded before there is a worker."""
        await self.rpc.start()
        await self.preloads.start()
        self.tell_changes()
        return {}

    # ---- to the worker ----

    def _tell(self, name: str, content) -> None:
        value, *frames = dumps(content)
        payload, fds = pack_payload(value, frames)
        self._out.send(channel.TELL, 0, [pack_bytes(name.encode()), *payload], fds)

    def tell_changes(self) -> None:
        """What executors are to find in their environment, if that is new."""
        environ = {**os.environ, **self.env}
        told = {
            "environ": {
                name: str(value)
                for name, value in environ.items()
                if self._environ_before.get(name) != value
            },
            "path": [entry for entry in sys.path if entry not in self._path_before],
        }
        if told != (self._told or {"environ": {}, "path": []}):
            self._told = told
            self._tell("environment", told)

    async def restart(self, timeout: float = 30, reason: str = "nanny-restart"):
        """New executors; over when the worker has registered with the scheduler again."""
        self.tell_changes()
        try:
            question = asyncio.to_thread(self._ask, "restart", [reason])
            return await asyncio.wait_for(question, timeout)
        except asyncio.TimeoutError:
            logger.error("Restart timed out after %ss; returning before finished", timeout)
            return "timed out"

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        await self.restart(timeout, reason)

    async def instantiate(self) -> Status:
        """The worker comes back by itself."""
        return Status.running

    async def close(self, timeout: float = 5, reason: str = "nanny-close"):
        """Ask the real one to close."""
        self._tell("close", [reason, True])
        return "OK"

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        self._tell("close-gracefully", [reason, False])

    async def teardown(self) -> None:
        """Plugins and preload modules say goodbye, as in stock's close()."""
        await self.preloads.teardown()
        for name in list(self.plugins):
            await self.plugin_remove(name)
