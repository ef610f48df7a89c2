"""What processes of a cluster are given: the program, Dask's settings, the modules that can be imported."""

from __future__ import annotations

import json
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.config

from cask.paths import BEHIND

INHERITED = "DASK_INTERNAL_INHERIT_CONFIG"
PLACES = ("DASK_CONFIG", "DASK_ROOT_CONFIG")  # of files: no settings themselves


def find_program() -> str:
    """`cask`: the setting cask.program; of the source tree that this is a part of; of this Python; on PATH."""
    if chosen := dask.config.get("cask.program", None):
        return os.path.expanduser(chosen)
    here = Path(__file__).resolve()
    candidates = (here.parents[3] / "build" / "cask", Path(sysconfig.get_path("scripts")) / "cask")
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    if found := shutil.which("cask"):
        return found
    raise FileNotFoundError(
        "there is no program `cask`: looked at "
        + ", ".join(map(str, candidates))
        + " and in PATH; `pip install` cask, or name it by the setting cask.program"
    )


def _plain(value: Any) -> Any:
    """What another process can be told of a setting: no pools, functions and the like, which are for this one."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if isinstance(k, str) and _is_plain(v)}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value if _is_plain(v)]
    return value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, Mapping, list, tuple))


def settings(changes: Mapping[str, Any], merged: Mapping[str, Any]) -> dict:
    """Dask's settings as they are here and now, with `changes` ({"distributed.x.y": value}) and a tree of others."""
    config = dask.config.merge(_plain(dask.config.config), _plain(merged))
    dask.config.set(dict(changes), config=config)
    return config


def _import_path() -> tuple[list[str], list[str]]:
    """Where modules are found here but not in a Python that is just started: before its own, and behind them."""
    paths = sysconfig.get_paths()
    library = Path(paths["stdlib"])
    zipped = library.parent / "python{}{}.zip".format(*sys.version_info[:2])
    usual = {*map(str, (library, library / "lib-dynload", zipped)), *site.getsitepackages()}
    usual |= {paths["platstdlib"], site.getusersitepackages()}
    found = [os.path.abspath(p) for p in sys.path]  # "", of a prompt, is where we are
    start = next((i for i, place in enumerate(found) if place in usual), len(found))
    before, behind = dict.fromkeys(found[:start]), dict.fromkeys(found[start:])
    return list(before), [place for place in behind if place not in usual and place not in before]


def environment(config: dict, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for a process with these settings."""
    inherited = json.dumps(config)
    variables = {}
    for name, value in os.environ.items():
        if name.startswith("DASK_") and name not in PLACES:
            # Variables stand above what is inherited, so those that say something else are left out.
            said = {} if name == INHERITED else dask.config.collect_env({name: value})
            if json.dumps(dask.config.merge(config, _plain(said))) != inherited or not said:
                continue
        variables[name] = value
    variables[INHERITED] = dask.config.serialize(config)
    variables["CASK_PYTHON"] = sys.executable
    before, behind = _import_path()
    variables["PYTHONPATH"] = os.pathsep.join(before)
    variables[BEHIND] = os.pathsep.join(behind)
    variables.update({k: str(v) for k, v in (extra or {}).items()})
    return variables
