"""``python -m cask.worker``: ``cask worker``, for what starts workers as a module of Python, such as dask-jobqueue
(``worker_command="cask.worker"``). The process becomes the worker, so that it has its id and gets its signals."""

from __future__ import annotations

import os
import sys

from cask.local_cluster.environment import find_program


def main() -> None:
    os.environ.setdefault("CASK_PYTHON", sys.executable)
    program = find_program()
    os.execv(program, [program, "worker", *sys.argv[1:]])


if __name__ == "__main__":
    main()
