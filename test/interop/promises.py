"""PROMISES.md: what the five seed texts promise, and the tests that check it.

    promises.py           print the table again, with the tests as they are now
"""

import ast
import collections
import pathlib
import re

HERE = pathlib.Path(__file__).parent
ROW = re.compile(r"\| (S\d+) \| (\d+) \| (.*) \| (.*) \|")


def checked_by():
    """Promise → the tests marked with it"""
    tests = collections.defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.seed":
                    for argument in mark.args:
                        tests[argument.value].append(f"`{path.stem}::{node.name}`")
    return tests


def rows():
    """(promise, text, what it says, tests or the reason why there is none)"""
    lines = (HERE / "PROMISES.md").read_text().splitlines()
    return [match.groups() for match in map(ROW.fullmatch, lines) if match]


if __name__ == "__main__":
    tests = checked_by()
    for promise, text, statement, reason in rows():
        print(f"| {promise} | {text} | {statement} | {'<br>'.join(tests[promise]) or reason} |")
