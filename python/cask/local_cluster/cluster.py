"""LocalCluster: stock's, but that scheduler and workers are cask's, in processes of their own."""

from __future__ import annotations

import logging
import math
import os
import warnings
import weakref
from typing import Any

import distributed
from dask.system import CPU_COUNT
from dask.widgets import get_template
from distributed import Nanny
from distributed.core import Status
from distributed.deploy.spec import SpecCluster
from distributed.deploy.utils import nprocesses_nthreads
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit

from cask.local_cluster import arguments
from cask.local_cluster import processes as processes_
from cask.local_cluster.inspection import Link

logger = logging.getLogger("distributed.deploy.local")


def _security(given: Security | bool | None) -> Security:
    if given is None or given is False:
        return Security()
    if given is True:
        return Security.temporary()
    if not isinstance(given, Security):
        raise TypeError("security must be a Security object")
    return given


def _protocol(given: str | None, host: str | None, security: Security) -> str:
    if given is None:
        if host and "://" in host:
            given = host.split("://")[0]
        else:
            given = "tls" if security.require_encryption else "tcp"
    protocol = given.removesuffix("://")
    if protocol == "inproc":
        raise ValueError(
            "protocol inproc:// is for a scheduler in this process; cask's is one of its own: use tcp://"
        )
    return protocol + "://"


def _shape(n_workers: int | None, threads: int | None, processes: bool) -> tuple[int, int]:
    """Number of workers, and threads of each. Source: distributed deploy/local.py."""
    if n_workers is None and threads is None:
        n_workers, threads = nprocesses_nthreads() if processes else (1, CPU_COUNT)
    if n_workers is None:
        n_workers = max(1, CPU_COUNT // threads) if processes else 1
    if n_workers and threads is None:
        # Overcommit threads per worker, rather than undercommit
        threads = max(1, math.ceil(CPU_COUNT / n_workers))
    return n_workers, threads


class Secrets:
    """Certificates that exist in memory only, as files that other processes can open: no disk sees them."""

    def __init__(self, security: Security):
        self.files: dict[str, str] = {}
        for field in Security.__slots__:
            text = getattr(security, field)
            if isinstance(text, str) and "\n" in text:
                fd = os.memfd_create(field)
                os.write(fd, text.encode())
                weakref.finalize(self, os.close, fd)
                self.files[field] = f"/proc/{os.getpid()}/fd/{fd}"


class LocalCluster(SpecCluster):
    """A scheduler and workers on this machine, each a process of its own.

    The arguments are those of distributed.LocalCluster and mean the same; docs/local_cluster.md says what becomes of
    each. Those that differ:

    Parameters
    ----------
    processes: bool
        True, the default: workers are `cask worker` processes. False: one stock worker in threads of this process,
        for debugging; its results go to the scheduler's process by TCP, so they must be picklable.
    worker_class: type or str
        A class of stock's instead: distributed.Nanny, distributed.Worker, or a subclass.
    dashboard_address: str
        Where the dashboard listens; None: there is none.
    **worker_kwargs:
        Of stock's Worker and Nanny, as far as a process can have them, and `executors`: over how many processes
        a worker splits its threads.

    Examples
    --------
    >>> cluster = LocalCluster(n_workers=4)  # doctest: +SKIP
    >>> client = Client(cluster)  # doctest: +SKIP
    >>> cluster.scale(8)  # doctest: +SKIP
    >>> cluster.adapt(minimum=1, maximum=8)  # doctest: +SKIP
    """

    def __init__(
        self,
        name=None,
        n_workers=None,
        threads_per_worker=None,
        processes=None,
        loop=None,
        start=None,
        host=None,
        ip=None,
        scheduler_port=0,
        silence_logs=logging.WARN,
        dashboard_address=":8787",
        worker_dashboard_address=None,
        services=None,
        worker_services=None,
        service_kwargs=None,
        asynchronous=False,
        security=None,
        protocol=None,
        blocked_handlers=None,
        interface=None,
        worker_class=None,
        scheduler_kwargs=None,
        scheduler_sync_interval=1,
        **worker_kwargs,
    ):
        if ip is not None:
            warnings.warn("`ip` is deprecated: use `host`", DeprecationWarning, stacklevel=2)
            host = ip
        if start is not None:
            warnings.warn("`start` is deprecated and does nothing", DeprecationWarning, stacklevel=2)
        if isinstance(worker_class, str):
            worker_class = distributed.utils.import_term(worker_class)
        if worker_kwargs.get("nanny") is False:  # how processes=False was said once
            del worker_kwargs["nanny"]
            processes = False if processes is None else processes
        if processes is None:
            processes = worker_class is None or issubclass(worker_class, Nanny)
        self.processes = processes
        security = _security(security)
        protocol = _protocol(protocol, host, security)
        if host is None and not interface:
            host = "127.0.0.1"
        n_workers, threads_per_worker = _shape(n_workers, threads_per_worker, processes)
        if n_workers:
            worker_kwargs.setdefault(
                "memory_limit", parse_memory_limit("auto", 1, n_workers, logger=logger)
            )
        self._secrets = Secrets(security)
        self._common = processes_.Common(
            arguments.security_settings(security, self._secrets.files),
            silence_logs,
            Link(security.get_connection_args("client")),
        )
        where = {"host": host, "interface": interface, "protocol": protocol}
        scheduler = {
            **where,
            "port": scheduler_port,
            "services": services,
            "service_kwargs": service_kwargs,
            "dashboard_address": dashboard_address,
            "dashboard": None if dashboard_address is not None else False,
            "blocked_handlers": blocked_handlers,
            **(scheduler_kwargs or {}),
        }
        worker = {
            **worker_kwargs,
            **where,
            "nthreads": threads_per_worker,
            "services": worker_services or {},
            "dashboard_address": worker_dashboard_address,
            "dashboard": worker_dashboard_address is not None,
        }
        if worker_class is None and processes:
            worker_class, worker = processes_.Worker, self._checked(processes_.Worker, worker)
        else:
            worker_class = worker_class or (Nanny if processes else distributed.Worker)
            worker.update(security=security, silence_logs=silence_logs)
        new_worker = {"cls": worker_class, "options": worker}
        super().__init__(
            name=name,
            scheduler={
                "cls": processes_.Scheduler,
                "options": self._checked(processes_.Scheduler, scheduler),
            },
            workers={i: new_worker for i in range(n_workers)},
            worker=new_worker,
            loop=loop,
            asynchronous=asynchronous,
            silence_logs=silence_logs,
            security=security,
            scheduler_sync_interval=scheduler_sync_interval,
        )

    def _checked(self, cls: type[processes_.CaskProcess], options: dict[str, Any]) -> dict[str, Any]:
        """The options of a process, found good before anything is started."""
        arguments.translate(cls.rules, options)
        return {**options, "common": self._common}

    def _update_worker_status(self, op, msg):
        if op == "add":
            for address, info in msg["workers"].items():
                for worker in list(self._created):
                    # `cask worker --name 7` is called 7, as `dask worker`'s is.
                    if isinstance(worker, processes_.Worker) and str(worker.name) == str(info["name"]):
                        worker.arrived(address, info)
        super()._update_worker_status(op, msg)

    async def _correct_state_internal(self):
        # SpecCluster asks the scheduler for this by names where it takes addresses, so nothing comes of it.
        leaving = set(self.workers) - set(self.worker_spec)
        if leaving and self.status == Status.running and self.scheduler.status == Status.running:
            await self.scheduler_comm.retire_workers(names=list(leaving))
        await super()._correct_state_internal()

    async def _close(self):
        await super()._close()
        self._common.link.close()

    def start_worker(self, *args, **kwargs):
        raise NotImplementedError("`cluster.start_worker` was removed from Dask; use `cluster.scale`")

    def _repr_html_(self, cluster_status=None):
        cluster_status = get_template("local_cluster.html.j2").render(
            status=self.status.name, processes=self.processes, cluster_status=cluster_status
        )
        return super()._repr_html_(cluster_status=cluster_status)


LocalCluster.__module__ = "cask"  # where users find it; `typename` shows it


def _not_ours() -> None:
    """In a fork: the processes are the parent's, which must not lose them when we end."""
    for cluster in list(LocalCluster._instances):
        if isinstance(cluster, LocalCluster):
            cluster.status = Status.closed


os.register_at_fork(after_in_child=_not_ours)
