"""Choose which tests the quick run leaves out, by what they ran and how long they took.

    python run.py test --all --cov --cov-context=test --junit-xml=junit.xml     (once: half an hour and more)
    python run.py quick [--data .coverage] [--times junit.xml] [--seconds 2500] [--check]

The quick run (python run.py test) keeps every line and branch of `toca_core` and `nodes` that all tests run: it holds the cases that run
what no other does, at the least time, and those of ALWAYS. Then come the shortest cases, a test's first before further ones of others,
until `--seconds` are full, the sum of the tests' own times as they were measured. The files of SHARED are kept or left out whole. What is
left out goes to tests/left_out.json. Tests that are newer than it always run. --check writes nothing and tells what the file in place
keeps.
"""

import argparse
import heapq
import json
import sqlite3
import sys
import xml.etree.ElementTree as xml
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tests/left_out.json"
MADE_BY = "python run.py test --all --cov --cov-context=test --junit-xml=junit.xml"
SECONDS = 2500      # of 11,500 that all tests took, three at a time and traced
START = 0.05        # seconds that a test takes at least
FIRST = 20          # times as long as another case may a test's only one take
SHARED = tuple(f"tests/{name}.py" for name in (                     # what their tests share takes most of a minute
    "demo/test_bench", "tools/test_compiling", "tools/test_masked_video_served", "tools/test_several_servers", "tools/test_templates"))
ALWAYS = ("tests/host/test_replay.py",)                             # is it ToCa


def function_of(test: str) -> str:
    return test.split("[")[0]


def unit_of(test: str) -> str:
    """What is kept or left out as one."""
    return test.split("::")[0] if test.startswith(SHARED) else test


def case_of(test: str) -> str:
    """What stands in the brackets of a test's id, or ""."""
    return test.partition("[")[2].removesuffix("]")


def covering(times: Mapping[str, float], branches: Mapping[str, set]) -> list[str]:
    """Tests that together run every branch, each chosen for what it adds in its time (the greedy cover of sets)."""
    left = set().union(*(branches[test] for test in times if test in branches))
    waiting = [(-len(branches[test]) / (times[test] + START), test) for test in times if test in branches]
    heapq.heapify(waiting)
    found = []
    while left:
        _, test = heapq.heappop(waiting)
        worth = -len(branches[test] & left) / (times[test] + START)
        if waiting and worth > waiting[0][0]:                       # what others have run meanwhile makes it worth less
            heapq.heappush(waiting, (worth, test))
        elif worth:
            found.append(test)
            left -= branches[test]
    return found


def of_units(times: Mapping[str, float], branches: Mapping[str, set]) -> tuple[dict[str, float], dict[str, set]]:
    """The same of what is kept or left out as one."""
    taken, run = defaultdict(float), defaultdict(set)
    for test, seconds in times.items():
        taken[unit_of(test)] += seconds
        run[unit_of(test)] |= branches.get(test, set())
    return dict(taken), dict(run)


def chosen(tests: Mapping[str, float], ran: Mapping[str, set], seconds: float) -> set[str]:
    """The tests of the quick run: a cover, then the shortest ones, as long as they fit into `seconds`."""
    times, branches = of_units(tests, ran)
    found = set(covering(times, branches)) | {test for test in times if test.startswith(ALWAYS)}
    begun, firsts = {function_of(test) for test in found}, set()
    for test in sorted(times, key=times.__getitem__):
        if function_of(test) not in begun:
            begun.add(function_of(test))
            firsts.add(test)
    spent = sum(times[test] for test in found)
    for test in sorted(times, key=lambda test: times[test] / (FIRST if test in firsts else 1)):
        if test not in found and spent + times[test] <= seconds:
            found.add(test)
            spent += times[test]
    return {test for test in tests if unit_of(test) in found}


def without(tests: Iterable[str], kept: set[str]) -> dict[str, list[str]]:
    """What is not kept: test -> its cases, or [] for all of it."""
    cases = defaultdict(list)
    for test in sorted(set(tests) - kept):
        cases[function_of(test)].append(case_of(test))
    begun = {function_of(test) for test in kept}
    return {function: names if function in begun else [] for function, names in cases.items()}


def is_left_out(test: str, left_out: Mapping[str, list[str]]) -> bool:
    cases = left_out.get(function_of(test))
    return cases is not None and (not cases or case_of(test) in cases)


def times_in(report: Path) -> dict[str, float]:
    """Seconds of each test that was run, by pytest's JUnit report."""
    return {f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": float(case.get("time"))
            for case in xml.parse(report).getroot().iter("testcase") if case.get("classname") and case.find("skipped") is None}


def branches_in(data: Path) -> dict[str, set]:
    """What each test ran, by a coverage file with contexts: (file, from line, to line). What ran on import is nobody's."""
    found = defaultdict(set)
    with sqlite3.connect(f"file:{data}?mode=ro", uri=True) as tables:
        for context, *branch in tables.execute("select context, file_id, fromno, tono from arc join context on context.id = context_id"):
            if context:
                found[context.split("|")[0]].add(tuple(branch))
    return dict(found)


def add_measured(parser: argparse.ArgumentParser):
    """Where the files are that MADE_BY leaves."""
    parser.add_argument("--data", type=Path, default=ROOT / ".coverage")
    parser.add_argument("--times", type=Path, default=ROOT / "junit.xml")


def is_missing(*files: Path) -> bool:
    """Whether one of them is not there, which is said with the remedy."""
    gone = [file for file in files if not file.is_file()]
    for file in gone:
        print(f"There is no {file}: run {MADE_BY} first.", file=sys.stderr)
    return bool(gone)


def main():
    parser = argparse.ArgumentParser(prog="run.py quick", description=__doc__.splitlines()[0])
    add_measured(parser)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of the tests' own times (default {SECONDS})")
    parser.add_argument("--check", action="store_true", help="write nothing, tell what tests/left_out.json keeps")
    given = parser.parse_args()
    if is_missing(given.data, given.times):
        return 2
    times, branches = times_in(given.times), branches_in(given.data)
    if given.check:
        left_out = json.loads(FILE.read_text(encoding="utf-8"))
    else:
        left_out = without(times, chosen(times, branches, given.seconds))
        lines = [f"{json.dumps(function)}: {json.dumps(cases)}" for function, cases in left_out.items()]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    kept = [test for test in times if not is_left_out(test, left_out)]
    every = set().union(*branches.values())
    run = set().union(*(branches.get(test, set()) for test in kept))
    print(f"{len(kept)} of {len(times)} tests, {sum(map(times.get, kept)):.0f} of {sum(times.values()):.0f} s, "
          f"{len(run & every)} of {len(every)} branches, {len({*map(function_of, kept)})} of {len({*map(function_of, times)})} functions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
