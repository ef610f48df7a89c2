"""The scheduler and the workers of a cluster, each a process of its own, as SpecCluster handles them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from dask.utils import parse_timedelta
from distributed.comm import get_address_host_port
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface
from distributed.versions import get_versions

from cask.local_cluster import arguments, environment
from cask.local_cluster.inspection import Link, SchedulerState, WorkerData
from cask.local_cluster.keeper import Child, start_child

logger = logging.getLogger("distributed.deploy.local")

SECONDS_TO_END = 10  # after SIGTERM; then it is killed
RESTART_SECONDS = 0.05  # pause before a worker is started again; doubled each time
RESTART_SECONDS_MAX = 60


def _give_up(started: Future[Child]) -> None:
    """Nobody waits any more for a process that is being started."""
    if started.exception() is None:
        started.result().signal(signal.SIGKILL)


class Common:
    """What all processes of a cluster share."""

    def __init__(self, settings: Mapping[str, Any], silence_logs: int | str | None, link: Link):
        self.settings = settings
        self.silence_logs = silence_logs
        self.link = link


class CaskProcess(ProcessInterface):
    """A cask program that runs as long as this object is open."""

    rules: arguments.Rules
    environment: Mapping[str, str] | None = None
    config: Mapping[str, Any] | None = None

    def __init__(self, common: Common, given: Mapping[str, Any]):
        super().__init__()
        self._common = common
        self._options, changes = arguments.translate(self.rules, given)
        self._changes = {**common.settings, **changes}
        self._child: Child | None = None

    async def _launch(self, *more: str) -> Child:
        settings = environment.settings(self._changes, self.config or {})
        variables = environment.environment(settings, self.environment)
        argv = [environment.find_program(), self.rules.what, *self._options, *more]
        started = start_child(argv, variables, self._common.silence_logs)
        try:
            self._child = await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            started.add_done_callback(_give_up)
            raise
        return self._child

    def _title(self) -> str:
        return f"the {self.rules.what}"

    def _ended(self, child: Child) -> str:
        code = child.ended.result()
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"{self._title()} {how}"

    def _not_started(self, child: Child) -> RuntimeError:
        return RuntimeError(f"{self._ended(child)}; it said:\n{child.log or '(nothing)'}")

    @property
    def pid(self) -> int | None:
        return self._child.pid if self.is_alive() else None

    def is_alive(self) -> bool:
        return self._child is not None and not self._child.ended.done()

    async def _stop(self) -> None:
        """Let it end; by force if it does not."""
        child = self._child
        if child is None or child.ended.done():
            return
        child.signal(signal.SIGTERM)
        ended = asyncio.wrap_future(child.ended)
        try:
            await asyncio.wait_for(asyncio.shield(ended), SECONDS_TO_END)
        except asyncio.TimeoutError:
            logger.warning("%s did not end within %d s: killed", self._title(), SECONDS_TO_END)
            child.signal(signal.SIGKILL)
            await ended


class Scheduler(CaskProcess):
    """`cask scheduler`. What stock's Scheduler has as state can be read here, from the process."""

    rules = arguments.SCHEDULER

    def __init__(self, common: Common, scheduler_file: str | None = None, **kwargs):
        super().__init__(common, kwargs)
        self._file = scheduler_file
        self._state: SchedulerState | None = None
        self._watch_task: asyncio.Task | None = None

    async def start(self) -> None:
        # The scheduler removes it at its end, even if we have ended before.
        name = f"cask-scheduler-{secrets.token_hex(8)}.json"
        self._file = self._file or os.path.join(tempfile.gettempdir(), name)
        self._remove_file()
        child = await self._launch(f"--scheduler-file={self._file}")
        self.address = await self._address_of(child)
        self._state = SchedulerState(self._common.link, self.address)
        self._watch_task = asyncio.create_task(self._watch(child))
        await super().start()

    async def _address_of(self, child: Child) -> str:
        """The file is put in its place as a whole, once the scheduler listens."""
        pause = 0.001
        while not os.path.exists(self._file):
            if child.ended.done():
                raise self._not_started(child)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        with open(self._file) as file:
            return json.load(file)["address"]

    def _remove_file(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._file)

    async def _watch(self, child: Child) -> None:
        await asyncio.wrap_future(child.ended)
        if self.status == Status.running:
            self.status = Status.failed
            logger.error("%s. Its cluster has lost all state; make another", self._ended(child))
        self._event_finished.set()

    async def close(self) -> None:
        self.status = Status.closing
        await self._stop()
        if self._watch_task is not None:
            await self._watch_task
        if self._file is not None:
            self._remove_file()  # if it was killed
        await super().close()

    @property
    def port(self) -> int:
        return get_address_host_port(self.address)[1]

    def __getattr__(self, name: str):
        state = self.__dict__.get("_state")
        if name.startswith("_") or state is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}, or not before it runs")
        return getattr(state, name)

    def __repr__(self) -> str:
        return f"<cask scheduler {self.address}, pid: {self.pid}, status: {self.status.name}>"


class Worker(CaskProcess):
    """`cask worker`, which is a worker and its nanny. When it is killed, another takes its place."""

    rules = arguments.WORKER

    def __init__(self, scheduler: str, common: Common, env=None, config=None, **kwargs):
        self.name = kwargs.get("name")
        self.nthreads = kwargs.get("nthreads")
        self.memory_limit = kwargs.get("memory_limit")
        self.worker_address: str | None = None
        super().__init__(common, kwargs)
        self.environment, self.config = env, config
        self._scheduler = scheduler
        self._arrived = asyncio.Event()
        self._death_timeout = parse_timedelta(kwargs.get("death_timeout"))
        self._watch_task: asyncio.Task | None = None

    def _title(self) -> str:
        return f"worker {self.name!r}"

    async def start(self) -> None:
        try:
            child = await self._launch(self._scheduler)
            get_versions()  # what a client begins with, and is then remembered; now nobody waits for it
            await self._arrival(child)
        except BaseException:
            self.status = Status.failed
            raise
        self._watch_task = asyncio.create_task(self._watch(child))
        await super().start()

    async def _arrival(self, child: Child) -> None:
        """The scheduler has heard of it."""
        arrived = asyncio.create_task(self._arrived.wait())
        ended = asyncio.wrap_future(child.ended)
        timeout = self._death_timeout
        try:
            await asyncio.wait([arrived, ended], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrived.cancel()
        if child.ended.done():
            raise self._not_started(child)
        if not self._arrived.is_set():
            await self._stop()
            raise TimeoutError(f"{self._title()} was not there after {timeout} s (death_timeout)")

    def arrived(self, address: str, info: Mapping[str, Any]) -> None:
        """The scheduler has told that it is there."""
        self.worker_address = self.address = address
        self.nthreads, self.memory_limit = info["nthreads"], info["memory_limit"]
        self.local_directory = info["local_directory"]
        self._arrived.set()

    async def _watch(self, child: Child) -> None:
        """Start it anew when it is killed or fails; not when it ends by itself, as retired workers do."""
        pause = RESTART_SECONDS
        while True:
            begin = time.monotonic()
            code = await asyncio.wrap_future(child.ended)
            lived_long = time.monotonic() - begin > RESTART_SECONDS_MAX
            pause = RESTART_SECONDS if lived_long else min(pause * 2, RESTART_SECONDS_MAX)
            await asyncio.sleep(pause)  # the scheduler may have gone, too
            if code == 0 or not self._cluster().scheduler.is_alive():
                self.status = Status.closed
                break
            logger.warning("%s; it is started again", self._ended(child))
            try:
                child = await self._launch(self._scheduler)
            except OSError as error:
                logger.error("%s cannot be started again: %s", self._title(), error)
                self.status = Status.failed
                break
        self._event_finished.set()

    async def close(self) -> None:
        self.status = Status.closing
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.wait([self._watch_task])
        await self._stop()
        await super().close()

    @property
    def process(self) -> Worker:
        """A nanny's worker, in stock's clusters: here both are one."""
        return self

    @property
    def data(self) -> WorkerData:
        """What it holds, for looking at."""
        return WorkerData(self._common.link, self.worker_address)

    def __repr__(self) -> str:
        return f"<cask worker {self.name!r} {self.worker_address}, pid: {self.pid}, status: {self.status.name}>"
