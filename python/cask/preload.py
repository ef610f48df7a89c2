"""A module for the setting distributed.client.preload: `Client()` in unchanged programs makes cask's clusters.

    DASK_DISTRIBUTED__CLIENT__PRELOAD=cask.preload python program.py
"""

from cask.local_cluster import install

install()
