"""Which tests the quick run leaves out."""

import json
import random
import sqlite3

import pytest

from tools import quick_tests

TIMES = {"tests/a.py::test_one[x-1]": 1.0, "tests/a.py::test_one[x-2]": 2.0, "tests/a.py::test_one[y]": 8.0, "tests/b.py::test_two": 4.0,
         "tests/b.py::test_three[[1]]": 0.5}
BRANCHES = {"tests/a.py::test_one[x-1]": {1, 2}, "tests/a.py::test_one[x-2]": {2, 3}, "tests/a.py::test_one[y]": {1, 2, 3, 4},
            "tests/b.py::test_two": {2}}


def test_what_only_one_case_runs_stays_whatever_it_takes():
    assert set(quick_tests.covering(TIMES, BRANCHES)) >= {"tests/a.py::test_one[y]"}
    assert quick_tests.chosen(TIMES, BRANCHES, 0) == set(quick_tests.covering(TIMES, BRANCHES))


def test_then_every_test_once_then_more_cases():
    cover = set(quick_tests.covering(TIMES, BRANCHES))
    spent = sum(map(TIMES.get, cover))
    assert quick_tests.chosen(TIMES, BRANCHES, spent + 0.5) == cover | {"tests/b.py::test_three[[1]]"}
    assert quick_tests.chosen(TIMES, BRANCHES, spent + 4.5) >= cover | {"tests/b.py::test_three[[1]]", "tests/b.py::test_two"}
    assert quick_tests.chosen(TIMES, BRANCHES, 100) == set(TIMES)


@pytest.mark.parametrize("seed", range(20))
def test_the_cover_is_one(seed):
    numbers = random.Random(seed)
    branches = {f"t{index}": set(numbers.sample(range(30), numbers.randint(0, 9))) for index in range(25)}
    times = {test: numbers.random() for test in branches}
    cover = quick_tests.covering(times, branches)
    assert set().union(*map(branches.get, cover)) == set().union(*branches.values())
    assert len(cover) == len(set(cover)) <= 25


def test_what_is_left_out_is_named_by_its_cases_or_as_a_whole():
    left_out = quick_tests.without(TIMES, {"tests/a.py::test_one[y]", "tests/b.py::test_three[[1]]"})
    assert left_out == {"tests/a.py::test_one": ["x-1", "x-2"], "tests/b.py::test_two": []}
    assert [test for test in TIMES if quick_tests.is_left_out(test, left_out)] == [
        "tests/a.py::test_one[x-1]", "tests/a.py::test_one[x-2]", "tests/b.py::test_two"]
    assert not quick_tests.is_left_out("tests/a.py::test_one[new]", left_out)
    assert not quick_tests.is_left_out("tests/c.py::test_new", left_out)


def test_a_run_is_read(tmp_path):
    report, data = tmp_path / "junit.xml", tmp_path / "coverage"
    report.write_text('<testsuites><testsuite><testcase classname="tests.a" name="test_one[x]" time="1.5"/>'
                      '<testcase classname="tests.a" name="test_none" time="0"><skipped/></testcase></testsuite></testsuites>')
    with sqlite3.connect(data) as tables:
        tables.execute("create table context (id, context)")
        tables.execute("create table arc (file_id, context_id, fromno, tono)")
        test = "tests/a.py::test_one[x]"
        tables.executemany("insert into context values (?, ?)", [(1, ""), (2, f"{test}|run"), (3, f"{test}|setup")])
        tables.executemany("insert into arc values (?, ?, ?, ?)", [(1, 1, 5, 6), (1, 2, 1, 2), (2, 2, 1, 2), (1, 3, 2, 3)])
    assert quick_tests.times_in(report) == {"tests/a.py::test_one[x]": 1.5}
    assert quick_tests.branches_in(data) == {"tests/a.py::test_one[x]": {(1, 1, 2), (2, 1, 2), (1, 2, 3)}}


def test_what_the_file_names_is_there():
    """A test that was renamed would run again, and a name would stand there for nothing."""
    gone = []
    for function in json.loads(quick_tests.FILE.read_text(encoding="utf-8")):
        path, _, name = function.partition("::")
        file = quick_tests.ROOT / path
        if not file.is_file() or f"def {name}(" not in file.read_text(encoding="utf-8"):
            gone.append(function)
    assert not gone
