"""The breaks that `run.py mutants` makes are what they are meant to be, and a test that fails is told from one that passes."""

import ast

import pytest
from coverage import CoverageData

from tools import mutants

CASES = """import pytest

@pytest.mark.parametrize("case", ["x y"])
def test_a(case):
    ...
"""
SOURCE = '''"""Words, 1 + 1."""
LIMIT = 3


def clipped(value: int | None, low=0, high=9):
    """At most high, 2 < 3."""
    if value is None or not value:
        raise ValueError(f"value is {value + 1}")
    inside = low <= value and value < high
    total = value ** 2 + value // 2
    print(total)
    log.info("two and %d", 2)
    return total * 2 if inside else None
'''


def test_each_changes_what_is_done_and_nothing_that_is_said():
    broken = {(one.line, SOURCE.splitlines()[one.line - 1][one.start:one.end], one.text) for one in mutants.breaks_of("a.py", SOURCE)}
    assert broken == {(7, "is", "is not"), (7, "or", "and"), (7, "", "not "), (9, "and", "or"), (9, "<", "<="), (9, "<=", "<"),
                      (10, "+", "-"), (10, "2", "3"), (11, "print(total)", "pass"), (13, "*", "/"), (13, "2", "3"),
                      (13, "total * 2 if inside else None", "None")}


@pytest.mark.parametrize("path", ["toca_core/error_cycle.py", "nodes/host/settings.py", "toca_core/select/selection.py"])
def test_what_is_broken_can_still_be_read(path):
    source = (mutants.ROOT / path).read_text(encoding="utf-8")
    breaks = mutants.breaks_of(path, source)
    assert len(breaks) > 20
    for one in breaks:
        lines = source.splitlines()
        lines[one.line - 1] = mutants.broken(lines[one.line - 1], one)
        ast.parse("\n".join(lines))


def summing(folder, before: str):
    """A tree of one function and its tests, some and one of two numbers -> its breaks: nothing returned, the difference."""
    (folder / "sums.py").write_text("def total(a, b):\n    return a + b\n", encoding="utf-8")
    (folder / "test_sums.py").write_text(f"import pytest\nimport sums\n\n\n{before}\n\n\n"
                                         "def test_two():\n    assert sums.total(1, 1) == 2\n", encoding="utf-8")
    return mutants.breaks_of("sums.py", (folder / "sums.py").read_text(encoding="utf-8"))


def test_the_test_that_notices_is_named_and_the_tree_is_as_before(tmp_path):
    none, minus = summing(tmp_path, "def test_zero():\n    assert sums.total(0, 0) == 0")
    mutants.try_out(tmp_path, minus, ["test_sums.py::test_zero"])
    assert (minus.seen, minus.tried) == ("", 1)
    mutants.try_out(tmp_path, minus, ["test_sums.py"])
    assert minus.seen == "test_sums.py::test_two"
    mutants.try_out(tmp_path, none, ["test_sums.py::test_two"])
    assert none.seen and (tmp_path / "sums.py").read_text(encoding="utf-8").endswith("a + b\n")


def test_a_test_that_fails_by_itself_notices_nothing(tmp_path):
    _, minus = summing(tmp_path, "@pytest.mark.parametrize('name', ['a b', 'c'])\ndef test_wrong(name):\n    assert name == 'c'")
    mutants.try_out(tmp_path, minus, ["test_sums.py::test_wrong[a b]", "test_sums.py::test_wrong[c]", "test_sums.py::test_two"])
    assert minus.seen == "test_sums.py::test_two"
    mutants.try_out(tmp_path, minus, ["test_sums.py::test_wrong[a b]", "test_sums.py::test_wrong[c]"])
    assert minus.seen == ""


def test_a_test_that_another_before_it_spoils_notices_nothing(tmp_path):
    _, minus = summing(tmp_path, "def test_spoils():\n    sums.spoilt = True\n\n\n"
                                 "def test_spoilt():\n    assert not hasattr(sums, 'spoilt')")
    spoils, spoilt, two = (f"test_sums.py::test_{name}" for name in ("spoils", "spoilt", "two"))
    for tests, seen in ((["test_sums.py"], two), ([spoils, spoilt, two], two), ([spoils, spoilt], "")):
        minus.seen = ""
        mutants.try_out(tmp_path, minus, tests)
        assert minus.seen == seen


def test_the_quickest_tests_that_run_a_line_come_first(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_b.py").write_text("def test_slow(): ...\n\ndef test_quick(): ...\n", encoding="utf-8")
    (tmp_path / "tests/test_a.py").write_text(CASES, encoding="utf-8")
    slow, quick, one = "tests/test_b.py::test_slow", "tests/test_b.py::test_quick", "tests/test_a.py::test_a[x y]"
    data = CoverageData(str(tmp_path / ".coverage"))
    for context in (slow, quick, one, "tests/test_a.py::test_a[gone]", "tests/test_gone.py::test_it", ""):
        data.set_context(context and f"{context}|run")
        data.add_lines({"/elsewhere/toca_core/run.py": [7]})
    data.write()
    found = mutants.Tests(tmp_path / ".coverage", {slow: 9.0, quick: 1.0, one: 2.0}, mutants.collected(tmp_path))
    assert found.of("toca_core/run.py", 7) == [quick, one, slow]
    assert found.of("toca_core/run.py", 8) == found.of("toca_core/loop.py", 7) == []


def test_tests_that_share_a_long_start_come_later():
    tests = mutants.Tests.__new__(mutants.Tests)
    tests.times = {"tests/demo/test_bench.py::test_a": 0.1, "tests/test_b.py::test_b": 9.0}
    assert sorted(tests.times, key=tests.seconds) == ["tests/test_b.py::test_b", "tests/demo/test_bench.py::test_a"]
