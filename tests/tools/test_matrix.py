"""The quick part of `run.py test --matrix`: every kind of condition and every model meets every setting."""

import pytest

from tools.pack import load_host

load_host()
from tools.matrix.graph import conditions
from tools.matrix.row import Cell, row_of
from tools.matrix.run_matrix import cells_of, quick_rows
from tools.matrix.selection import pairs, pairwise
from tools.matrix.settings import SETTINGS
from tools.matrix.subjects import subjects


@pytest.fixture(scope="module")
def chosen():
    return list(quick_rows())


@pytest.fixture(scope="module")
def rows(chosen):
    """By model."""
    found = {}
    for condition, subject, settings, exact in chosen:
        found.setdefault(subject.name, []).append((condition, subject, settings, exact))
    return found


@pytest.mark.parametrize("model", subjects())
def test_every_graph(rows, model):
    """All of it: python run.py test --matrix."""
    cells = [cell for row in rows[model] for cell in row_of(*row, quick=True)]
    assert [cell for cell in cells if cell.outcome not in ("close", "plain", "refused")] == []
    assert any(cell.outcome == "close" for cell in cells)


def test_the_quick_part_meets_every_pair(chosen):
    cells = [(condition, subject.name, setting) for condition, subject, settings, _ in chosen for setting in settings]
    met, kinds = set().union(*(pairs(*cell) for cell in cells)), {one.kind for one in conditions().values()}
    assert met == {("model", model, setting) for model in subjects() for setting in SETTINGS} | {
        ("kind", kind, setting) for kind in kinds for setting in SETTINGS}


def test_the_choice_covers_what_can_be_covered():
    two = [one for one in conditions().values() if one.kind == "loras"][:2]
    chosen = pairwise(two, ["a", "b"], ["x", "y"], lambda condition, model: condition is two[0] or model == "a")
    assert {cell[0] for cell in chosen} == {one.name for one in two} and (two[1].name, "b") not in {cell[:2] for cell in chosen}
    assert {cell[1:] for cell in chosen} == {("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")}


def test_an_interrupted_run_goes_on(tmp_path):
    condition, subject = conditions()["nothing else"], subjects()["dit"]
    done, row = tmp_path / "rows", (condition, subject, ["output"], [])
    first = cells_of([row], quick=True, done=done)
    assert [cell.outcome for cell in first] == ["close"]
    line = done.read_text(encoding="utf-8")
    assert cells_of([row], quick=True, done=done) == first and done.read_text(encoding="utf-8") == line
    done.write_text(line.replace('"close"', '"wrong"'), encoding="utf-8")
    assert cells_of([row], quick=True, done=done) == first and done.read_text(encoding="utf-8") != line      # what was wrong is tried again


# ---- that it finds what is wrong ----


def broken(monkeypatch, change) -> list[Cell]:
    """The cells of a bare graph on one model, while every skipped step's answer goes through `change`."""
    from tools.pack import pack_module
    level, original = pack_module("toca_core.levels.output").OutputLevel, pack_module("toca_core.levels.output").OutputLevel.call

    def call(self, run_model, about, cache, account):
        return change(original(self, run_model, about, cache, account), bool(about.full), run_model)
    monkeypatch.setattr(level, "call", call)
    return row_of(conditions()["nothing else"], subjects()["flux"], ["output"], [])


@pytest.mark.parametrize("change, words", [
    (lambda answer, full, run_model: answer, None),
    (lambda answer, full, run_model: answer if full else answer.flip(-1), "error"),
    (lambda answer, full, run_model: answer if full else answer * float("nan"), "not finite"),
    (lambda answer, full, run_model: answer if full else run_model(), "is told to be partial, and computed everything"),
], ids=["nothing", "garbage", "not a number", "computed after all"])
def test_it_tells_what_is_wrong(monkeypatch, change, words):
    [cell] = broken(monkeypatch, change)
    assert cell.outcome == ("wrong" if words else "close") and (words or "") in cell.reason
