"""Let gen_cluster's workers be processes too: a pytest plugin on top of the harness's own.

The harness (conformance_plugin.py) starts the workers of `cluster()` with $CONF_WORKER_CMD; the workers of
gen_cluster, with which most tests work, stay objects of the test's process.  Here they are started with that
command as well, with `--host`, `--nanny` or `--no-nanny`, and what else the test asks for that is an option.  A
test gets a WorkerProxy for each: what can be known of a worker by asking it and the scheduler.  One that
looks further inside is a WhiteBox and does not count.
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import os
import shlex
import signal
import threading

import conformance_plugin as harness
from distributed import Nanny, utils_test
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.core import ConnectionPool, Status, rpc
from distributed.worker import get_data_from_worker

OPTIONS = {  # keywords of Worker and Nanny which are options of `dask worker`
    "contact_address", "death_timeout", "lifetime", "lifetime_stagger", "local_directory", "resources",
}  # fmt: skip
SETTINGS = {
    "memory_target_fraction": "distributed.worker.memory.target",
    "memory_spill_fraction": "distributed.worker.memory.spill",
    "memory_pause_fraction": "distributed.worker.memory.pause",
    "profile_cycle_interval": "distributed.worker.profile.cycle",
    "validate": "distributed.worker.validate",
}
IRRELEVANT = {"dashboard", "dashboard_address", "heartbeat_interval", "transition_counter_max"}
END_TIMEOUT = 15
start_scheduler_and_workers = harness.start_cluster
wait_for_state_of_scheduler = harness.wait_for_state
other_loop = asyncio.new_event_loop()
threading.Thread(target=other_loop.run_forever, daemon=True).start()


def ask(coroutine):
    """The result of a coroutine for a caller that cannot wait: the loop of the test stands still meanwhile"""
    return asyncio.run_coroutine_threadsafe(coroutine, other_loop).result(utils_test._TEST_TIMEOUT)


class RemoteData(collections.abc.Mapping):
    """worker.data: keys and values as any peer can ask for them"""

    def __init__(self, proxy):
        self.proxy = proxy

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        harness.current.fail_as_white_box(f"worker.data.{name}")

    async def fetch_keys(self):
        async with self.proxy.rpc_to(self.proxy.worker_address) as worker:
            return list(await worker.keys())

    async def fetch(self, key):
        pool = await ConnectionPool(connection_args=self.proxy.connection_args)
        try:
            answer = await get_data_from_worker(pool, [key], self.proxy.worker_address, who="test")
            return answer["data"][key]
        finally:
            await pool.close()

    def __iter__(self):
        return iter(ask(self.fetch_keys()))

    def __len__(self):
        return len(ask(self.fetch_keys()))

    def __contains__(self, key):
        return key in ask(self.fetch_keys())

    def __getitem__(self, key):
        if key not in self:
            raise KeyError(key)
        return ask(self.fetch(key))


class RemoteState:
    """worker.state at one moment, as far as a dump of it tells"""

    def __init__(self, dump):
        self.__dict__.update(dump)
        self.tasks = {key: RemoteState(task) for key, task in dump.get("tasks", {}).items()}

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        harness.current.fail_as_white_box(f"worker.state.{name}")


class WorkerProxy:
    """What a test may know of a worker in another process"""

    def __init__(self, scheduler, name, nthreads, process, has_nanny):
        self.__dict__.update(
            name=name, nthreads=nthreads, _scheduler=scheduler, _process=process, _has_nanny=has_nanny
        )

    @property
    def connection_args(self):
        security = self._scheduler._external.security
        return security.get_connection_args("client") if security else {}

    def rpc_to(self, address):
        return rpc(address, connection_args=self.connection_args)

    async def info(self):
        async with self._scheduler._external.rpc() as scheduler:
            workers = (await scheduler.identity(n_workers=-1))["workers"]
        for address, worker in workers.items():
            if str(worker["name"]) == str(self.name):
                return {**worker, "address": address}
        return None

    async def registered(self):
        while (info := await self.info()) is None or info["status"] != "running":
            if self._process.popen.poll() is not None:
                raise harness.ExternalSchedulerFailed(f"worker {self.name} ended while starting")
            await asyncio.sleep(0.02)
        self.note(info)
        async with self.rpc_to(self.address) as server:
            self.__dict__["id"] = (await server.identity())["id"]
        return self

    def note(self, info):
        self.__dict__.update(
            _worker_address=info["address"],
            address=info["nanny"] if self._has_nanny else info["address"],
            contact_address=info["address"],
            local_directory=info["local_directory"],
            memory_limit=info["memory_limit"],
        )

    @property
    def worker_address(self):
        """The one that it has now: a restart gives it another"""
        if self._has_nanny and (info := ask(self.info())) is not None:
            self.note(info)
        return self._worker_address

    @property
    def ip(self):
        return parse_host_port(parse_address(self.address)[1])[0]

    @property
    def port(self):
        return parse_host_port(parse_address(self.address)[1])[1]

    @property
    def status(self):
        if self._process.popen.poll() is not None:
            return Status.closed
        try:
            info = ask(self.info())
        except OSError:  # the scheduler is gone, the worker not yet
            return Status.running
        return Status.closed if info is None else Status[info["status"]]

    @property
    def data(self):
        return None if self._process.popen.poll() is not None else RemoteData(self)

    async def dump(self):
        async with self.rpc_to(self.worker_address) as worker:
            return RemoteState(await worker.dump_state())

    @property
    def state(self):
        return ask(self.dump())

    async def close(self, *args, **kwargs):
        if self._process.popen.poll() is None:
            async with self.rpc_to(self.address) as server:
                with contextlib.suppress(OSError):
                    await server.terminate(reply=False)
        await self.finished()

    async def finished(self):
        while self._process.popen.poll() is None:
            await asyncio.sleep(0.01)

    async def kill(self, **kwargs):
        await self.ask_nanny("kill", kwargs)

    async def restart(self, **kwargs):
        return await self.ask_nanny("restart", kwargs)

    async def ask_nanny(self, operation, kwargs):
        if not self._has_nanny:
            harness.current.fail_as_white_box(f"worker.{operation}")
        async with self.rpc_to(self.address) as nanny:
            return await getattr(nanny, operation)(**kwargs)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        harness.current.fail_as_white_box(f"worker.{name}")

    def __setattr__(self, name, value):
        harness.current.fail_as_white_box(f"worker.{name}=")

    def __repr__(self):
        return f"<external worker {self.name}>"


def start_worker(scheduler, name, host, nthreads, has_nanny, kwargs):
    """Start a process for what the test wants to be Worker(scheduler.address, **kwargs)"""
    config = harness.changed_config()
    if scheduler._external.security is not None:
        config.update(harness.security_as_config(scheduler._external.security))
    config.setdefault("distributed.worker.preload", ["distributed.utils_test"])  # the test's process has it as well
    kwargs = {"memory_limit": utils_test.system.MEMORY_LIMIT, **kwargs}
    command = os.environ["CONF_WORKER_CMD"].format(
        scheduler=scheduler.address,
        name=shlex.quote(str(name)),
        nthreads=nthreads,
        memory_limit=shlex.quote(str(kwargs.pop("memory_limit") or 0)),
    )
    command += " --nanny" if has_nanny else " --no-nanny"
    if host and "://" not in host:
        command += f" --host {host}"
    for keyword, value in kwargs.items():
        if keyword == "env" and has_nanny:
            config.update({f"distributed.nanny.environ.{k}": v for k, v in value.items()})
        elif keyword == "config" and has_nanny:
            config.update(harness.flat_config(value))
        elif keyword in SETTINGS:
            config[SETTINGS[keyword]] = value
        elif keyword == "resources":
            command += " --resources " + shlex.quote(" ".join(f"{k}={v}" for k, v in value.items()))
        elif keyword in OPTIONS:
            command += f" --{keyword.replace('_', '-')} {shlex.quote(str(value))}"
        elif keyword not in IRRELEVANT:
            harness.current.fail_as_white_box(f"worker_kwargs:{keyword}")
    environment = harness.config_as_env(config)
    return WorkerProxy(scheduler, name, nthreads, harness.ExternalProcess(command, environment), has_nanny)


async def start_cluster(
    nthreads,
    scheduler_addr,
    security=None,
    Worker=utils_test.Worker,
    scheduler_kwargs=None,
    worker_kwargs=None,
    timeout=harness.START_TIMEOUT,
):
    if Worker not in (utils_test.Worker, Nanny):
        harness.current.fail_as_white_box(f"Worker={Worker.__name__}")
    scheduler, _ = await start_scheduler_and_workers(
        [], scheduler_addr, security=security, scheduler_kwargs=scheduler_kwargs
    )
    workers = []
    try:
        for name, (host, threads, *extra) in enumerate(nthreads):
            kwargs = {**(worker_kwargs or {}), **(extra[0] if extra else {})}
            name = kwargs.pop("name", name)
            workers.append(start_worker(scheduler, name, host, threads, Worker is Nanny, kwargs))
        waiting = asyncio.gather(*[worker.registered() for worker in workers])
        await asyncio.wait_for(waiting, 4 * harness.START_TIMEOUT)
    except BaseException:
        await end_cluster(scheduler, workers)
        raise
    return scheduler, workers


async def end_cluster(scheduler, workers):
    """End all; a worker that does not end is an error, as it would be left behind"""
    for worker in workers:
        if worker._process.popen.poll() is None:
            worker._process.popen.send_signal(signal.SIGTERM)
    late = []
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.gather(*[worker.finished() for worker in workers]), END_TIMEOUT)
    for worker in workers:
        late += [worker.name] if worker._process.popen.poll() is None else []
        worker._process.kill()
        worker._process.finish()
    scheduler._external.stop()
    if late:
        raise harness.ExternalSchedulerFailed(f"workers that did not end: {late}")


async def wait_for_state(key, state, server, *, interval=0.01):
    """As in utils_test, of an external worker by its dumps"""
    if not isinstance(server, WorkerProxy):
        return await wait_for_state_of_scheduler(key, state, server, interval=interval)
    wanted = {state} if isinstance(state, str) else set(state)
    while True:
        task = (await server.dump()).tasks.get(key)
        if task is not None and task.state in wanted:
            return
        await asyncio.sleep(interval)


# A test may take longer than with workers that are there already
defaults = utils_test.gen_cluster.__defaults__
utils_test.gen_cluster.__defaults__ = tuple(4 * d if d is utils_test._TEST_TIMEOUT else d for d in defaults)
utils_test.start_cluster = start_cluster
utils_test.end_cluster = end_cluster
utils_test.wait_for_state = wait_for_state
