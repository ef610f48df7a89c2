"""Every promise of the seed texts has a test, or a reason why there can be none; and the
documentation names only tests that exist."""

import re

from harness import HERE, ROOT
from promises import checked_by, rows


def test_the_table_of_promises_is_true():
    tests = checked_by()
    assert len(rows()) == 208
    for promise, _, _, where in rows():
        if tests[promise]:
            assert where == "<br>".join(tests[promise]), promise
        else:
            assert where and "::" not in where, promise
    assert set(tests) <= {promise for promise, *_ in rows()}


def test_the_documentation_names_tests_that_exist():
    text = (ROOT / "docs" / "compatibility.md").read_text()
    module, wrong = None, []
    for name, test in re.findall(r"`(test_\w+|…)(?:::(test_\w+))?`", text):
        module = module if name == "…" else name
        path = HERE / f"{module}.py"
        if not path.exists() or (test and f"def {test}(" not in path.read_text()):
            wrong.append(f"{module}::{test}")
    assert not wrong
