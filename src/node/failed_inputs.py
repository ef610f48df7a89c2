"""Runs on the worker that ran a task which failed: describes the task and what it was given, and serialises it.

The scheduler sends this text with an ordinary ``run`` call, so any Dask worker can do it (failed_inputs.c, docs/failures.md).
The answer is msgpack: [description (JSON), pickle of the task, [pickle of (key, value) or None, one an input]].
"""

import asyncio
import json
import pickle
import sys

import msgpack
from distributed.protocol.pickle import dumps

EACH_MAX = 1 << 20
ALL_MAX = 8 << 20
TEXT_MAX = 200
LOG_LINES = 20
MISSING = object()


def plain(text, size_max=TEXT_MAX):
    """Text that JSON can have, and not more of it than a page shows."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= size_max else text[: size_max - 1] + "…"


def shown(value, function=repr):
    try:
        return plain(function(value))
    except Exception as error:
        return plain(f"<{type(value).__name__}: {function.__name__}() raised {type(error).__name__}>")


def attribute(value, name):
    """Of arrays and tables: what numpy and pandas say of them."""
    if isinstance(value, type):
        return None
    try:
        found = getattr(value, name, None)
        return None if found is None or callable(found) else plain(" ".join(str(found).split()))
    except Exception:
        return None  # an attribute that raises says nothing


def find(data, key, nbytes):
    """The value, unless it would have to be read from disk or copied, and is large."""
    if nbytes > EACH_MAX:
        return getattr(data, "memory", data).get(key, MISSING)
    try:
        return data[key]
    except KeyError:
        return MISSING


def describe(value, nbytes):
    kind = type(value)
    answer = {
        "type": plain(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")),
        "shape": attribute(value, "shape"),
        "dtype": attribute(value, "dtype") or attribute(value, "dtypes"),
        "repr": None,
    }
    if nbytes <= EACH_MAX or answer["shape"] is not None:
        answer["repr"] = shown(value)
    return answer


def take_input(key, value, nbytes, room):
    """What is told of an input, and its bytes, if they may be kept."""
    if value is MISSING:
        return {"why": "larger than 1 MiB" if nbytes > EACH_MAX else "its value was no longer on this worker"}, None
    answer = describe(value, nbytes)
    if nbytes > EACH_MAX:
        return {**answer, "why": "larger than 1 MiB"}, None
    try:
        data = dumps((key, value))
    except Exception as error:
        return {**answer, "why": plain(f"it cannot be pickled: {error!r}")}, None
    if len(data) > EACH_MAX:
        return {**answer, "why": "its pickle is larger than 1 MiB"}, None
    if len(data) > room:
        return {**answer, "why": "the inputs before it are 8 MiB together"}, None
    return {**answer, "why": None}, data


def argument(value):
    """An input is told apart from a text that looks like it"""
    if type(value).__name__ in ("Alias", "TaskRef"):
        return plain(f"<input {getattr(value, 'target', None) or value.key!s}>")
    return shown(value)


def describe_task(parts):
    """The task's function and literal arguments, and its pickle in one piece."""
    try:
        task = pickle.loads(parts[0], buffers=parts[1:])
    except Exception as error:
        return {"why": plain(f"it cannot be loaded: {error!r}")}, None
    function = getattr(task, "func", None)
    answer = {
        "function": None if function is None else plain(getattr(function, "__qualname__", None) or shown(function)),
        "args": [argument(value) for value in getattr(task, "args", ())[:50]],
        "kwargs": {plain(str(name)): argument(value) for name, value in list((getattr(task, "kwargs", None) or {}).items())[:50]},
    }
    data = parts[0] if len(parts) == 1 else dumps(task)
    if len(data) > EACH_MAX:
        return {**answer, "why": "larger than 1 MiB"}, None
    return {**answer, "why": None}, data


def environment():
    packages = {}
    for name in ("dask", "distributed", "cloudpickle", "numpy", "pandas", "pyarrow"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            packages[name] = plain(version)
    return {"python": sys.version.split()[0], "packages": packages}


def recent_log(worker):
    try:
        lines = [(str(level), str(text)) for level, text in reversed(worker.get_logs())]
        told = [[plain(level), plain(text, 2000)] for level, text in lines if "Run out-of-band function" not in text]
        return told[-LOG_LINES:]
    except Exception:
        return []  # a worker of another make may keep none


def look(parts, inputs, values):
    task, spec = describe_task(parts) if parts else ({"why": "the scheduler did not send it"}, None)
    room = ALL_MAX - len(spec or b"")
    described, kept = [], []
    for (key, nbytes), value in zip(inputs, values):
        answer, data = take_input(key, value, nbytes, room)
        room -= len(data or b"")
        described.append(answer)
        kept.append(data)
    return {"task": task, "inputs": described, **environment()}, spec, kept


async def keep_inputs_of_failed_task(parts, inputs, dask_worker):
    """Values are looked up here, in the loop, which owns them; what may be slow runs in a thread."""
    values = [find(dask_worker.data, key, nbytes) for key, nbytes in inputs]
    description, spec, kept = await asyncio.to_thread(look, parts, inputs, values)
    description["log"] = recent_log(dask_worker)
    return msgpack.packb([json.dumps(description), spec, kept])
