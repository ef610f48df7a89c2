"""The executor: the process in which a worker's tasks run. Protocol: docs/executor.md."""

from __future__ import annotations


class TaskCancelled(KeyboardInterrupt):
    """Raised inside a running task that was cancelled or is over its time.

    Not an Exception: code that catches and goes on would keep its slot for a result that nobody
    wants any more. A KeyboardInterrupt: libraries give up what they wait for, as they do when a user
    interrupts; a task that waits for a Lock leaves the queue for it.
    """
