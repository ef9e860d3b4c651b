"""Break one line of the pack at a time, and see whether the tests notice.

    python run.py test --all --cov --cov-context=test --junit-xml=junit.xml     (once: which test runs which line; half an hour and more)
    python run.py mutants [--breaks 60] [--seed 0] [--from 1] [--data .coverage] [--times junit.xml] [--json FILE]

Lines are drawn at random from all of `toca_core` and `nodes`. A broken line is seen if a test fails that passes without it, or does not
end. Tests that run the line are tried, from as many files as there are, a few of the quickest first; then, of the nodes and of a line that
no test has run in its own process, those that start a server and those of the browser. It works on a copy, and the tree stays as it is.
"""

import argparse
import ast
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from tools.quick_tests import SHARED, add_measured, is_missing, times_in

FOLDERS = ("toca_core", "nodes")
BATCHES = (12, 60, 200)                                             # tests at a time, until one fails
ENOUGH = 0.9                                                        # share of the breaks that is to be seen
SECONDS = 1800                                                      # one batch of tests may take
LONG = 60                                                           # seconds of a start that is shared
SERVED = ("tests/tools/test_server.py", "tests/tools/test_hostile_prompts.py", "tests/tools/test_interface.py",
          "tests/host/test_prompts.py")
BROWSED = ("tests/web",)

COMPARED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
            "in": "not in", "not in": "in", "is": "is not", "is not": "is"}
COMPUTED = {ast.Add: {"+": "-"}, ast.Sub: {"-": "+"}, ast.Mult: {"*": "/"}, ast.Div: {"/": "*"}}
JOINED = {"and": "or", "or": "and"}


@dataclass
class Break:
    """On `line` of `path` the text from `start` to `end` (columns) becomes `text`. seen: the test that notices, or ""."""
    path: str
    line: int
    start: int
    end: int
    text: str
    was: str = ""
    seen: str = ""
    tried: int = 0


def breaks_of(path: str, source: str) -> list[Break]:
    """Every break of one file that this makes; messages of errors, annotations and what is said in strings are left out."""
    lines, found = source.splitlines(), []

    def replace(line: int, start: int, end: int, text: str):
        found.append(Break(path, line, start, end, text, lines[line - 1].strip()))

    def operator(left: ast.expr, right: ast.expr, table: dict[str, str]):
        if left.end_lineno != right.lineno:
            return
        between = lines[left.end_lineno - 1].encode()[left.end_col_offset:right.col_offset].decode()
        match = re.search("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" if word[0].isalpha() else re.escape(word)
                                   for word in sorted(table, key=len, reverse=True)), between)
        if match:
            column = len(lines[left.end_lineno - 1].encode()[:left.end_col_offset].decode()) + match.start()
            replace(left.end_lineno, column, column + len(match[0]), table[match[0]])

    for node in behaviour(ast.parse(source)):
        single = node.lineno == node.end_lineno if hasattr(node, "lineno") else False
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            operator(node.left, node.comparators[0], COMPARED)
        elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
            operator(node.left, node.right, COMPUTED[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            operator(node.values[0], node.values[1], JOINED)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and single:
            replace(node.lineno, node.col_offset, node.col_offset, "not ")
        elif isinstance(node, ast.Constant) and type(node.value) in (bool, int) and single:
            replace(node.lineno, node.col_offset, node.end_col_offset, str(not node.value if type(node.value) is bool else node.value + 1))
        elif isinstance(node, ast.Return) and single and node.value is not None and not is_none(node.value):
            replace(node.lineno, node.value.col_offset, node.value.end_col_offset, "None")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and single:
            replace(node.lineno, node.col_offset, node.end_col_offset, "pass")
    return [one for one in found if lines[one.line - 1].isascii()]          # columns are of bytes


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def is_logged(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("log" | "logging")))):
            return True
    return False


def behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """What decides what happens: inside functions, without annotations, errors' messages and remarks of the log."""
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from walk(child) if inside else behaviour(child)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.arguments)) or is_logged(node):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from walk(child)


class Tests:
    """Which of the tests that there are run which line, by a coverage file with contexts, and their seconds."""

    def __init__(self, data: Path, times: Mapping[str, float], existing: Set[str]):
        from coverage import CoverageData
        self.data, self.times, self.existing = CoverageData(str(data)), times, existing
        self.data.read()
        self.files = {name: file for file in self.data.measured_files() for name in [relative(file)] if name}

    def of(self, path: str, line: int) -> list[str]:
        """Node ids, from as many files as there are first, of each its quickest."""
        contexts = self.data.contexts_by_lineno(self.files[path]) if path in self.files else {}
        names = sorted({context.split("|")[0] for context in contexts.get(line, ())} & self.existing)
        by_file = defaultdict(list)
        for name in random.Random(0).sample(names, len(names)):
            by_file[name.split("::")[0]].append(name)
        for found in by_file.values():
            found.sort(key=self.seconds)
        turns = itertools.zip_longest(*sorted(by_file.values(), key=lambda found: self.seconds(found[0])))
        return [name for turn in turns for name in turn if name]

    def seconds(self, test: str) -> float:
        """Of a file whose tests share a long start, that counts for each."""
        return self.times.get(test, 0.0) + (LONG if test.startswith(SHARED) else 0.0)


def relative(file: str) -> str:
    """A measured file's path from the project on, wherever it was measured."""
    parts = Path(file).parts
    starts = [index for index, part in enumerate(parts) if part in FOLDERS]
    return "/".join(parts[starts[0]:]) if starts else ""


def copied(folder: Path) -> Path:
    """The tree as it is, with what git does not ignore."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def collected(tree: Path) -> set[str]:
    """The node ids of all tests."""
    command = [sys.executable, "-B", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    told = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    return {line for line in told.splitlines() if line.startswith("tests/") and "::" in line}


def failing(tree: Path, tests: Sequence[str], but: Sequence[str] = ()) -> str:
    """The first of these tests that fails, but for some, or "" where all pass."""
    # -B: a file that changes twice in a second would be taken for what was compiled before.
    options = ["-x", "-q", "-p", "no:cacheprovider", "--timeout", "240", "--no-header", "-rfE", *(f"--deselect={test}" for test in but)]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    try:
        ended = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "no end"
    if ended.returncode in (0, 5):
        return ""
    named = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", ended.stdout, re.MULTILINE)
    return named[1] if named else f"exit {ended.returncode}"


def noticing(tree: Path, file: Path, texts: tuple[str, str], tests: Sequence[str]) -> str:
    """The first of these tests that fails with the broken text of a file and passes with the whole one, or "". texts: whole, broken."""
    whole, wrong = texts
    failed: list[str] = []
    while True:
        file.write_text(wrong, encoding="utf-8")
        found = failing(tree, tests, failed)
        file.write_text(whole, encoding="utf-8")
        if "::" not in found or failing(tree, up_to(found, tests), failed) != found:
            return found
        failed.append(found)                                        # by itself: a slow machine, the network, or a test before it


def up_to(found: str, tests: Sequence[str]) -> Sequence[str]:
    """The tests that ran when this one failed, of files and folders the whole of them."""
    for index, test in enumerate(tests, 1):
        if found == test or found.startswith((f"{test}::", f"{test}/")):
            return tests[:index]
    return tests


def broken(line: str, one: Break) -> str:
    return line[:one.start] + one.text + line[one.end:]


def try_out(tree: Path, one: Break, tests: Sequence[str]):
    """Break the line, run what runs it, mend it."""
    file = tree / one.path
    whole = file.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    lines[one.line - 1] = broken(lines[one.line - 1], one)
    ends = [0, *itertools.accumulate(BATCHES)]
    batches = [tests[start:end] for start, end in itertools.pairwise(ends)]
    if one.path.startswith("nodes/") or not tests:                  # a server may do more with it, which is a process of its own
        batches += [SERVED, BROWSED]
    try:
        for batch in filter(None, batches):
            one.tried += len(batch)
            one.seen = noticing(tree, file, (whole, "".join(lines)), batch)
            if one.seen:
                return
    finally:
        file.write_text(whole, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--breaks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=1, dest="start", metavar="N", help="the number of the first one that is tried")
    add_measured(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if is_missing(options.data, options.times):
        return 2
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    every = [one for path in files for one in breaks_of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))]
    numbered = list(enumerate(random.Random(options.seed).sample(every, min(options.breaks, len(every))), 1))[options.start - 1:]
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder) / "pack")
        tests = Tests(options.data, times_in(options.times), collected(tree))
        for number, one in numbered:
            try_out(tree, one, tests.of(one.path, one.line))
            new = f"'{one.was}': {one.text}"
            print(f"{number:3}/{numbered[-1][0]} {one.path}:{one.line} {new}: {one.seen or f'NOT SEEN by {one.tried} tests'}", flush=True)
            tried.append(one)
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in tried], indent=1), encoding="utf-8")
    seen = sum(bool(one.seen) for one in tried)
    print(f"{seen} of {len(tried)} breaks seen ({seen / len(tried):.0%}), drawn from {len(every)}")
    return 0 if seen >= ENOUGH * len(tried) else 1


if __name__ == "__main__":
    sys.exit(main())
