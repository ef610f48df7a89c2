"""``python -m cask.executor``: serves the worker at fd 3 until it closes the channel.

Before it is greeted it may be forked: beginning.py. Then the main thread runs the event loop: plugins, operations, asynchronous tasks. `nthreads` run tasks, and
read the channel when they have none; one reads it meanwhile, and one serialises what is asked for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from cask.executor.channel import CHANNEL_FD
from cask.executor.crash import take_line
from cask.paths import extend_path


def main() -> None:
    # Ctrl-C is for the worker, which ends us. A handler, not SIG_IGN: programs that tasks start
    # would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    line = take_line()
    peer = socket.socket(fileno=CHANNEL_FD)
    peer.set_inheritable(False)
    extend_path()

    from cask.executor.beginning import begin  # a second of imports, with the descriptors in safety
    from cask.executor.serve import serve

    beginning = begin(peer, line)  # several processes may come back from here
    status = asyncio.run(serve(beginning))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nobody waits for tasks that still run


if __name__ == "__main__":
    main()
