"""An executor without Dask, for unit tests: the real channel, board and crash handler, no tasks."""

import pathlib

__path__.append(str(pathlib.Path(__file__).resolve().parents[6] / "python" / "cask" / "executor"))
