"""Makes the golden files beside it: NAME.pickle, as a stock client pickles a graph (dask and
distributed 2026.8, Python 3.11), and NAME.cut, what build/test/support/pickle_probe cuts out of it.

    cd test/interop && python ../unit/wire/golden/pickle/make.py

Nothing is written unless every piece loads to the task it was cut from.
"""

import sys
from pathlib import Path

sys.path.insert(0, ".")

import test_pickle_cut as cut
from distributed.client import Future
from distributed.protocol.serialize import serialize, to_serialize

HERE = Path(__file__).parent
FUTURES = [Future("f"), Future(("g", 0))]
LARGE = list(range(1100))
EXPRS = {
    name: cut.LLGExpr(cut.GRAPHS[name])
    for name in (
        "function", "lambda", "shared lambda", "recursive", "each other", "instance", "numpy",
        "pandas", "containers", "nodes", "keys", "far dependencies", "tuple dependencies", "constants",
        "none",
    )
} | {
    f"map {name}": cut.MAPS[name]
    for name in ("two", "range", "kwargs", "equal keys", "tuple keys", "arrays")
} | {
    "map futures": cut.mapped(cut.collect, [FUTURES, FUTURES], cut.keys_of(2), k=FUTURES[0]),
    "delayed": cut.DELAYED["methods and containers"],
    "inner": cut.LLGExpr({key: cut.Task(key, cut.collect, LARGE) for key in "abc"}),
}  # fmt: skip

probe = cut.Probe()
for name, expr in EXPRS.items():
    if isinstance(expr, (cut.LLGExpr, cut._MapExpr)):
        cut.load(probe, expr)
    else:
        cut.check_layers(probe, expr)
    _, frames = serialize(to_serialize(expr))
    buffers = [bytes([i]) for i in range(len(frames) - 1)]
    lines = []
    for key, dependencies, flags, task, parts in probe("cut", frames[0], *buffers)["tasks"]:
        parts = " ".join(part.hex() for part in parts)
        lines.append(f"{key!r} {flags} {list(dependencies)!r}\n {task.hex()} {parts}".rstrip() + "\n")
    stem = name.replace(" ", "-")
    (HERE / f"{stem}.pickle").write_bytes(frames[0])
    (HERE / f"{stem}.cut").write_text("".join(lines))
probe.close()
