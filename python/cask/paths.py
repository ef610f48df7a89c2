"""What the maker of a cluster finds behind all else, its planner and executors find there, too.

PYTHONPATH, which has what it finds before, stands in front of Python's own modules.
"""

from __future__ import annotations

import os
import sys

BEHIND = "CASK_PYTHONPATH_BEHIND"


def extend_path() -> None:
    """Of the process that is just started."""
    behind = os.environ.get(BEHIND, "").split(os.pathsep)
    sys.path.extend(place for place in behind if place and place not in sys.path)
