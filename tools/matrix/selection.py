"""The cells of the quick part: every kind of condition and every model meets every setting, in as many conditions as that takes."""

from collections import Counter
from collections.abc import Iterable

from .graph import Condition


def pairwise(conditions: Iterable[Condition], models: list[str], settings: list[str], fits) -> list[tuple[str, str, str]]:
    """(condition, model, setting) of each cell; fits(condition, model) says whether a condition is to be tried on a model."""
    possible = [(one, model, setting) for one in conditions for model in models for setting in settings]
    wanted = set().union(*(pairs(*cell) for cell in possible))
    chosen: list[tuple[str, str, str]] = []
    used: Counter[str] = Counter()                                  # of what is as good, what came up least: the choice repeats
    while possible:
        best = max(possible, key=lambda cell: (len(wanted & pairs(*cell)), -used[cell[0].name], -used[cell[1]]))
        if not wanted & pairs(*best):
            break
        if not fits(best[0], best[1]):
            possible = [cell for cell in possible if cell[:2] != best[:2]]
            continue
        used.update((best[0].name, best[1]))
        wanted -= pairs(*best)
        chosen.append((best[0].name, *best[1:]))
    return chosen


def pairs(condition: Condition, model: str, setting: str) -> set[tuple[str, str, str]]:
    """What a cell shows."""
    return {("kind", condition.kind, setting), ("model", model, setting)}
