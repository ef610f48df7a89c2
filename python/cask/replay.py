"""``cask replay``: a task that failed, here, with the inputs it had: under a debugger, if there is a terminal.

From a history file nothing is opened in this process: the bytes are written to files, and ``replay.py`` beside them, which is
then run, opens them. From a scheduler, they are fetched as ``Client.recreate_error_locally`` fetches them, so stock's will do.
Either way it runs the code of whoever submitted the task. See docs/failures.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import urllib.parse
from dataclasses import dataclass

TASK = "task.pickle"

SCRIPT = '''\
"""Runs {key} again, with the inputs that it had when it failed.

Whoever submitted that task wrote what this executes. In a shell: python replay.py; under a debugger, which stops where it
fails: python -m pdb -c continue replay.py
"""

import os
import pathlib
import pickle
import sys

HERE = pathlib.Path(__file__).resolve().parent
INPUTS = {inputs}  # each a pickle of (key, value)


def load(name):
    try:
        return pickle.loads((HERE / name).read_bytes())
    except ImportError as error:
        sys.exit(f"replay.py: {{error}}: it is needed to open {{name}}; run this where it can be imported (PYTHONPATH)")


def main():
    sys.path.append(os.getcwd())
    task = load("{task}")
    if not callable(task):
        sys.exit("replay.py: this is no task for Python: " + repr(task)[:200])
    inputs = dict(load(name) for name in INPUTS)
    return task(inputs)


if __name__ == "__main__":
    result = main()
    print("It did not fail this time. Its result:", repr(result)[:1000])
'''


class Refused(Exception):
    """It cannot be replayed, and why."""


@dataclass
class Found:
    key: str
    task: bytes  # a pickle
    inputs: list[bytes]  # pickles of (key, value)


# ---- from a file -------------------------------------------------------------------------------------


def open_file(path: str) -> sqlite3.Connection:
    """To look at only. In a folder where nothing may be written, SQLite wants to know that nobody writes"""
    quoted = urllib.parse.quote(str(pathlib.Path(path).resolve()))
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        file = sqlite3.connect(f"file:{quoted}?{mode}", uri=True)
        try:
            file.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return file
        except sqlite3.OperationalError as error:
            file.close()
            reason = error
    raise Refused(f"{path}: {reason}")


def others(file: sqlite3.Connection, key: str) -> str:
    """What to try instead of a key of which nothing was kept"""
    rows = file.execute("SELECT key FROM failed_inputs WHERE task IS NOT NULL ORDER BY time LIMIT 5").fetchall()
    failed = file.execute("SELECT count(*) FROM failed_tasks WHERE key = ?", (key,)).fetchone()[0]
    known = "it failed, but its inputs were not kept" if failed else "no task of this name failed by itself"
    if not rows:
        return f"{known}; nor is there another whose inputs were kept"
    return f"{known}; they were kept of {', '.join(name for (name,) in rows)}"


def missing_of(description: dict) -> list[str]:
    missing = [
        f"input {item.get('key')}: {item.get('why') or 'it was not kept'}" for item in description.get("inputs", []) if not item.get("kept")
    ]
    left_out = description.get("total", 0) - len(description.get("inputs", []))
    return [*missing, f"{left_out} more inputs: only the first are kept"] if left_out > 0 else missing


def from_history(path: str, key: str) -> Found:
    file = open_file(path)
    try:
        if file.execute("PRAGMA user_version").fetchone()[0] < 3:
            raise Refused(f"{path} was written by a cask that kept no inputs")
        row = file.execute("SELECT description, task FROM failed_inputs WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise Refused(f"{key}: {others(file, key)}")
        description = json.loads(row[0])
        if row[1] is None:
            why = (description.get("task") or {}).get("why") or description.get("why") or "it was not kept"
            raise Refused(f"{key}: the task itself is not there: {why}")
        missing = missing_of(description)
        if missing:
            raise Refused("\n  ".join([f"{key} cannot run without", *missing[:20]]))
        values = file.execute("SELECT data FROM failed_values WHERE key = ? ORDER BY place", (key,)).fetchall()
        return Found(key, row[1], [data for (data,) in values])
    except (sqlite3.Error, ValueError) as error:
        raise Refused(f"{path}: {error}") from None
    finally:
        file.close()


# ---- from a scheduler --------------------------------------------------------------------------------


def keys_of(text: str) -> list:
    """str(key) may be that of a str or of a tuple"""
    keys: list = [text]
    if text.startswith("("):
        try:
            keys.insert(0, ast.literal_eval(text))
        except (ValueError, SyntaxError):
            pass  # then it is a str
    return keys


async def find_task(client, text: str):
    """The task to blame for what became of `text`, and its key"""
    for key in keys_of(text):
        cause = await client.scheduler.get_error_cause(keys=[key]) or key
        cause = tuple(cause) if isinstance(cause, list) else cause
        try:
            return cause, await client._get_raw_components_from_future(cause)
        except KeyError:
            continue
    raise Refused(f"{text}: the scheduler knows no such task, or no more. If it failed there: cask replay {text!r} --history last")


async def values_of(client, keys) -> dict:
    """As the client's own, but with a graph that stock's scheduler takes, too. What was released is computed again"""
    from dask._expr import LLGExpr
    from distributed.client import SpanMetadata

    if not keys:
        return {}
    metadata = SpanMetadata(collections=[{"type": "low-level-graph"}])
    return await client._gather(client._graph_to_futures(LLGExpr({}), list(keys), span_metadata=metadata))


async def fetch(client, text: str) -> Found:
    from dask._task_spec import GraphNode
    from distributed.protocol.pickle import dumps

    key, task = await find_task(client, text)
    if not isinstance(task, GraphNode):
        raise Refused(f"{key}: this is no task for Python: {task!r:.200}")
    values = await values_of(client, task.dependencies)
    return Found(str(key), dumps(task), [dumps(item) for item in values.items()])


def from_scheduler(address: str, key: str, timeout: float) -> Found:
    from distributed import Client

    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except OSError as error:
        raise Refused(f"no scheduler at {address}: {error}. After its end: cask replay {key!r} --history last") from None
    with client:
        return client.sync(fetch, client, key)


# ---- running -----------------------------------------------------------------------------------------


def write(folder: pathlib.Path, found: Found) -> pathlib.Path:
    """Readable by nobody else: inputs may hold what is secret"""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = [f"input-{number}.pickle" for number in range(len(found.inputs))]
    script = SCRIPT.format(key=repr(found.key).replace("\\", "\\\\").replace('"', "'"), inputs=names, task=TASK)
    for name, content in [(TASK, found.task), *zip(names, found.inputs), ("replay.py", script.encode())]:
        path = folder / name
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    return folder / "replay.py"


def run(script: pathlib.Path, debugs: bool) -> int:
    command = [sys.executable, *(["-m", "pdb", "-c", "continue"] if debugs else []), str(script)]
    print(f"Running the task's own code: {' '.join(command)}", file=sys.stderr, flush=True)
    return subprocess.call(command)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("cask replay")
    parser.add_argument("key")
    parser.add_argument("--scheduler")
    parser.add_argument("--history")
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--write")
    parser.add_argument("--pdb", action=argparse.BooleanOptionalAction)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    wish = parse(arguments)
    debugs = sys.stdin.isatty() and sys.stdout.isatty() if wish.pdb is None else wish.pdb
    try:
        found = from_history(wish.history, wish.key) if wish.history else from_scheduler(wish.scheduler, wish.key, wish.timeout)
        if wish.write:
            return run(write(pathlib.Path(wish.write), found), debugs)
        with tempfile.TemporaryDirectory(prefix="cask-replay-") as folder:
            return run(write(pathlib.Path(folder), found), debugs)
    except (Refused, OSError) as error:
        print(f"cask replay: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
