"""cask: Dask's distributed system in C; this package is its Python side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cask.local_cluster import Client, LocalCluster, install, uninstall

__all__ = ["Client", "LocalCluster", "install", "uninstall"]


def __getattr__(name: str):
    # Not imported ahead of need: planners and executors, which are of this package, do not need it.
    if name in __all__:
        import cask.local_cluster

        return getattr(cask.local_cluster, name)
    raise AttributeError(f"module 'cask' has no attribute {name!r}")
