"""Every promise of the seed texts has a test, or a reason why there can be none."""

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
