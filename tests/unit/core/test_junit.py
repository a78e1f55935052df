"""JUnit files as programs write them, and as somebody hostile does."""

from __future__ import annotations

import pytest

from corpushooks.core import junit
from corpushooks.core.errors import UsageError
from corpushooks.core.events import Case

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="1.25">
<testcase classname="tests.test_a" name="test_one" time="0.001" />
<testcase classname="tests.test_a" name="test_two" time="0.1"><failure message="assert 1 == 2">def test_two():
&gt; assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped type="pytest.skip" message="not here" /></testcase>
<testcase classname="tests.test_a" name="test_four">
<error message="no fixture"/><system-out>noise</system-out></testcase>
</testsuite></testsuites>"""
NESTED = b"""<testsuite name="all"><testsuite name="empty"/><testsuite name="inner"><testcase name="a"/></testsuite>
<testcase name="b"/></testsuite>"""


def test_a_file_of_pytest() -> None:
    (suite,) = junit.parse(PYTEST, "a.xml")
    assert (suite.file, suite.suite, suite.seconds) == ("a.xml", "pytest", 1.25)
    assert (suite.tests, suite.failed, suite.errors, suite.skipped) == (4, 1, 1, 1)
    first, second, third, fourth = suite.cases
    assert first == Case(
        "test_two", "tests.test_a", "failed", 0.1, "assert 1 == 2", "def test_two():\n> assert 1 == 2"
    )  # fmt: skip
    assert (second.name, second.result, second.message) == ("test_four", "error", "no fixture")
    assert (third.name, third.result, third.message) == ("test_three", "skipped", "not here")
    assert (fourth.name, fourth.result) == ("test_one", "passed")


def test_suites_within_suites() -> None:
    assert [(one.suite, one.tests) for one in junit.parse(NESTED, "a")] == [("all", 1), ("inner", 1)]


BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
OUTSIDE = b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>'
ENTITY = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite name="a">&x;</testsuite>'
HOSTILE = {
    "document type": (BOMB, OUTSIDE, ENTITY),
    "too deep": (b"<testsuite>" * 40 + b"</testsuite>" * 40,),
    "too many elements": (b"<testsuite>" + b"<a/>" * (junit.ELEMENTS + 1) + b"</testsuite>",),
    "expected <testsuites>": (b"<html/>",),
    "line 1": (b"", b"no", b"<testsuite>", b"\0\1\2", b"<testsuite>&x;</testsuite>"),
    "not XML": (b'<?xml version="1.0" encoding="nonsense"?><testsuite/>',),
}


@pytest.mark.parametrize(("said", "data"), [(said, data) for said, each in HOSTILE.items() for data in each])
def test_what_is_hostile_is_refused(said: str, data: bytes) -> None:
    with pytest.raises(UsageError, match=said):
        junit.parse(data, "a.xml")


def test_of_many_tests_those_that_failed_are_kept() -> None:
    cases = b"".join(b'<testcase name="p%d"/>' % n for n in range(2 * junit.CASES))
    wrong = b'<testcase name="bad"><failure message="%s">%s</failure></testcase>' % (b"m" * 9000, b"t" * 9000)
    (suite,) = junit.parse(b"<testsuite>" + cases + wrong * 100 + b"</testsuite>", "a")
    assert (suite.tests, suite.failed, suite.cases[0].name) == (2 * junit.CASES + 100, 100, "bad")
    assert sum(case.result == "failed" for case in suite.cases) == 100
    assert len(suite.cases[0].message) == len(suite.cases[0].text) == junit.TEXT
    assert sum(map(junit.weight, suite.cases)) < 2 * junit.ROOM
    assert len(suite.cases) <= junit.CASES


def test_a_result_outside_of_a_test_and_a_wrong_time_are_nothing() -> None:
    (suite,) = junit.parse(b'<testsuite time="x"><failure/><testcase name="a" time="-1"/></testsuite>', "a")
    assert (suite.failed, suite.seconds, suite.cases[0].seconds) == (0, None, None)
