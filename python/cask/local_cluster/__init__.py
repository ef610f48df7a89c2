"""Clusters on this machine: a scheduler and workers in processes of their own, made and ended from Python.

See docs/local_cluster.md.
"""

from cask.local_cluster.client import Client, install, uninstall
from cask.local_cluster.cluster import LocalCluster

__all__ = ["Client", "LocalCluster", "install", "uninstall"]
