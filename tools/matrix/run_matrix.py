"""ToCa Cache in every graph: {other nodes in it} x {settings} x {models}, tiny models of the host's own classes.

    python run.py test --matrix [--only NAME ...] [--models NAME ...] [--settings NAME ...] [--json FILE] [--quick] [--full] [--page]
                                [--resume FILE]

Every cell is sampled plainly in the same graph, and with ToCa Cache. What must hold:

    exact       a fresh_ratio of 1, a tolerance of 0, and a warm-up without end give the plain result bit for bit
    close       the result is nearer to the plain one than half of the way to another seed's, and not that of a graph without the node
    truthful    the report's steps are the evaluations; full steps computed everything and partial ones less, as counted in the layers
    clean       nothing is left on the model, a second run gives the same, and so does a plain one afterwards
    outcomes    close; plain, and the report says why; refused, by name and before sampling; or wrong
"""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent] + [str(ROOT)]
from tools.models import started

EACH = 3                        # in the quick part, one row of so many is tried with an exact setting
OUTCOMES = ("close", "plain", "refused", "wrong", "left out")


def quick_rows():
    """(condition, model, settings, exact settings) of the quick part, model by model."""
    from tools.matrix.graph import conditions
    from tools.matrix.selection import pairwise
    from tools.matrix.settings import EXACT, SETTINGS
    from tools.matrix.subjects import subjects
    known, exact = conditions(), list(EXACT)
    cells = pairwise([one for one in known.values() if not one.slow], list(subjects()), list(SETTINGS), fits)
    rows: dict[tuple[str, str], list[str]] = {}
    for condition, model, setting in cells:
        rows.setdefault((condition, model), []).append(setting)
    for index, ((condition, model), settings) in enumerate(sorted(rows.items(), key=lambda row: list(subjects()).index(row[0][1]))):
        yield known[condition], subjects()[model], settings, [exact[index // EACH % len(exact)]] if index % EACH == 0 else []


def fits(condition, model: str) -> bool:
    """Whether a condition makes sense on a model; those that only sampling can tell are taken to."""
    from tools.matrix.graph import LeftOut
    from tools.matrix.subjects import subjects
    subject = subjects()[model]
    try:
        condition.make(subject.graph(), subject)
    except LeftOut:
        return False
    return True


def all_rows(only: list[str], models: list[str], settings: list[str], slow: bool):
    """Likewise of the whole matrix; `only` are parts of the names of conditions, or of their kinds."""
    from tools.matrix.graph import conditions
    from tools.matrix.settings import EXACT, SETTINGS
    from tools.matrix.subjects import subjects
    for condition in conditions().values():
        if only and not any(word in condition.name or word == condition.kind for word in only) or condition.slow and not slow:
            continue
        for name, subject in subjects().items():
            if not models or name in models:
                yield condition, subject, settings or list(SETTINGS), list(EXACT)


def cells_of(rows, quick: bool = False, done: Path | None = None) -> list:
    """done: a file that rows are added to as they come out, and from which those that it already has are taken."""
    from tools.matrix.row import Cell, row_of
    cells, known = [], {} if done is None else earlier(done)
    for condition, subject, settings, exact in rows:
        if row := known.get((condition.name, subject.name, *settings, *exact)):
            cells.extend(Cell(**cell) for cell in row)
            continue
        began = time.perf_counter()
        made = row_of(condition, subject, settings, exact, quick)
        print(line(condition, subject, made, time.perf_counter() - began), flush=True)
        cells.extend(made)
        if done is not None:
            with done.open("a", encoding="utf-8") as file:
                key = [condition.name, subject.name, *settings, *exact]
                file.write(json.dumps({"row": key, "cells": [asdict(cell) for cell in made]}) + "\n")
    return cells


def earlier(path: Path) -> dict[tuple, list[dict]]:
    """The rows of an interrupted run in which nothing was wrong, by condition, model and settings."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    return {tuple(line["row"]): line["cells"] for line in lines if all(cell["outcome"] != "wrong" for cell in line["cells"])}


def line(condition, subject, cells: list, seconds: float) -> str:
    if cells[0].outcome == "left out":
        return f"{condition.name} / {subject.name}: left out, {cells[0].reason}"
    told = ", ".join(f"{cell.setting} {cell.outcome}" + ("" if cell.error is None else f" {cell.error:.2f}") for cell in cells)
    wrong = "".join(f"\n    {cell.setting}: {cell.reason}" for cell in cells if cell.outcome == "wrong")
    return f"{condition.name} / {subject.name}: {told} ({seconds:.0f} s){wrong}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py test --matrix", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="conditions of this kind, or with this in their names")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="only these models")
    parser.add_argument("--settings", nargs="+", default=[], metavar="NAME", help="only these settings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every cell there")
    parser.add_argument("--quick", action="store_true", help="only the cells of the tests: every pair of kinds")
    parser.add_argument("--full", action="store_true", help="torch.compile too, which takes minutes")
    parser.add_argument("--page", action="store_true", help="write the counts into docs/trust.md")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep what is done there, and go on from what it has")
    given = parser.parse_args()
    started()
    rows = quick_rows() if given.quick else all_rows(given.only, given.models, given.settings, given.full)
    cells = cells_of(rows, given.quick, given.resume)
    counts = Counter(cell.outcome for cell in cells)
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))
    if given.json:
        told = {"counts": counts, "cells": [asdict(cell) for cell in cells]}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.page:
        from comfyui_version import __version__ as host

        from tools.matrix.page import write
        write(ROOT / "docs" / "trust.md", cells, host)
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
