"""The C extension that does what costs most, or None: then Python does it. src/exec/python_extension.c.

One library for every CPython from 3.10 on (limited API). The executor's Python is the user's, not the one that cask was
built with, so it may be one that cannot load it: PyPy, one without the GIL, one of another libc.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import os
import pathlib
import sys
import sysconfig


logger = logging.getLogger("cask.executor")

_NAME = "cask.executor._native"


def _path() -> str | None:
    """Beside the package in a wheel, else where the worker says; CASK_EXECUTOR_EXTENSION="" is none."""
    told = os.environ.get("CASK_EXECUTOR_EXTENSION")
    if told is not None:
        return told or None
    beside = pathlib.Path(__file__).with_name("_native.abi3.so")
    return str(beside) if beside.exists() else None


def _can_load() -> bool:
    return (
        sys.implementation.name == "cpython"
        and sys.byteorder == "little"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
    )


def load():
    """The module, or None."""
    path = _path()
    if path is None or not _can_load():
        return None
    loader = importlib.machinery.ExtensionFileLoader(_NAME, path)
    spec = importlib.util.spec_from_file_location(_NAME, path, loader=loader)
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        logger.warning("tasks cost more than they need to: %s", error)
        return None
    if module.interface != 1:
        logger.warning("tasks cost more than they need to: %s is of another version of cask", path)
        return None
    return module


native = load()
