"""`Client()` without an address makes a cluster; here it makes one of cask's."""

from __future__ import annotations

import sys

import distributed
import distributed.deploy

from cask.local_cluster.cluster import LocalCluster

STOCK = distributed.LocalCluster


class Client(distributed.Client):
    """distributed.Client; what differs is the cluster that it makes when it is not told of any."""

    async def _start(self, *args, **kwargs):
        if self._start_arg is None and self.cluster is None and self.scheduler_file is None:
            self.cluster = await LocalCluster(
                loop=self.loop, asynchronous=self._asynchronous, **self._startup_kwargs
            )
        return await super()._start(*args, **kwargs)


Client.__module__ = "cask"


def _put(cls: type) -> None:
    for name in ("distributed", "distributed.deploy", "dask.distributed"):
        if module := sys.modules.get(name):
            module.LocalCluster = cls


def install() -> None:
    """From now on `dask.distributed.Client()` and `dask.distributed.LocalCluster` make clusters of cask's."""
    _put(LocalCluster)


def uninstall() -> None:
    """Undo install()."""
    _put(STOCK)
