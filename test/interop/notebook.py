"""Run cells as a notebook does: notebook.py CELLS RESULTS, both JSON; see test_seed_cells.py.

All cells share the names of `__main__`. A cell that fails does not end the run. Each is a file of its own, so that
tracebacks show its lines. A result is {"shows": …, "error": …, "frames": […]}: what the cell printed and the repr of its last
expression, the exception's type and text, and the last lines of code that it went through.
"""

import ast
import contextlib
import io
import json
import sys
import traceback

import __main__


def run_cell(code, name):
    with open(name, "w") as file:
        file.write(code)
    tree = ast.parse(code)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, name, "exec"), __main__.__dict__)
    if last is not None:
        value = eval(compile(last, name, "eval"), __main__.__dict__)
        if value is not None:
            __main__._ = value
            print(repr(value))


def main(cells_path, results_path):
    with open(cells_path) as file:
        cells = json.load(file)
    results = []
    for number, code in enumerate(cells):
        result = {"error": "", "frames": []}
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            try:
                run_cell(code, f"cell_{number}.py")
            except Exception as error:
                result["error"] = f"{type(error).__name__}: {error}"
                result["frames"] = [frame.line for frame in traceback.extract_tb(error.__traceback__)]
        results.append({**result, "shows": shown.getvalue()})
    with open(results_path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
