"""``--worker-class``: the user's subclass of Worker, as the worker that user code sees."""

from __future__ import annotations

import distributed.worker
from distributed.utils import import_term

from cask.executor.worker import Stock, Worker

# What the C process does: a method of one of these names would never be called.
_IN_C = {
    "execute",
    "find_missing",
    "gather",
    "gather_dep",
    "get_data",
    "get_metrics",
    "get_monitor_info",
    "handle_scheduler",
    "handle_worker_status_change",
    "heartbeat",
    "identity",
    "keys",
    "retry_busy_worker_later",
    "send_to_worker",
    "start_unsafe",
    "update_data",
    "_handle_remote_stimulus",
    "_handle_remove_worker",
    "_register_with_scheduler",
}


def worker_type(name: str) -> type[Worker]:
    """The class to make the worker of; without a name, ours."""
    given = import_term(name) if name else distributed.worker.Worker
    if not (isinstance(given, type) and issubclass(given, distributed.worker.Worker)):
        raise TypeError(f"--worker-class {name}: no subclass of dask.distributed.Worker")
    stock = set(distributed.worker.Worker.__mro__)
    own = {attribute for attribute in vars(Worker) if not attribute.startswith(("__", "_abc_"))}
    idle = sorted(
        attribute
        for cls in given.__mro__
        if cls not in stock
        for attribute in vars(cls)
        if attribute in _IN_C | own
    )
    if idle:
        raise TypeError(
            f"--worker-class {name}: cask's worker is no Python object; what it does itself cannot "
            f"be overridden: {', '.join(idle)}. Worker plugins and preload modules can do most of it"
        )
    bases = (Worker, Stock) if given is distributed.worker.Worker else (Worker, given, Stock)
    return type(given.__name__, bases, {})
