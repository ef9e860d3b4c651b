"""A number of calls shared out over the evaluations ahead, so that all gaps between them are expected to err alike."""

import math
from collections.abc import Callable, Sequence

from .schedule import Moment

Anchors = tuple[float, ...]
Expected = Callable[[Anchors, Moment], float]


def planned(calls: int, anchors: Sequence[float], owed: float, ahead: Sequence[Moment], kept: int, expected: Expected) -> frozenset[int]:
    """The steps (`Step.index`) that are computed: just so many, or all where there are not so many evaluations.

    The last one that matters is among them, since nothing after it would take its error back.

    anchors     times of the last full steps, newest first, at most `kept` of them
    owed        what the forecasts since the last of them are expected to have added to the sample
    ahead       the evaluations from this one on
    expected    (anchors, evaluation) -> what a forecast of it from them adds to the sample
    """
    steps = [moment.step.index for moment in ahead]
    if calls >= len(ahead) or calls <= 0:
        return frozenset(steps[:max(0, calls)])
    anchors = tuple(anchors)
    low, high = 0.0, owed + sum(expected(anchors or (ahead[0].time,), moment) for moment in ahead)
    chosen, high, _ = computed(high, anchors, owed, ahead, kept, expected)
    while low < (middle := (low + high) / 2) < high:
        found, least, above = computed(middle, anchors, owed, ahead, kept, expected)
        if len(found) > calls:
            low = above
        else:
            high, chosen = least, found
    chosen = set(sorted(chosen)[:calls])
    while len(chosen) < calls:                                      # no limit gives just so many
        chosen.add(worst(chosen, anchors, ahead, kept, expected))
    return frozenset(chosen)


def remembered(expected: Expected) -> Expected:
    """The same, asked once for each evaluation and anchors; every plan of a run asks about much the same."""
    known: dict[tuple, float] = {}

    def asked(anchors: Anchors, moment: Moment) -> float:
        key = moment.step, moment.time, anchors
        if key not in known:
            known[key] = expected(anchors, moment)
        return known[key]
    return asked


def worst(chosen: set[int], anchors: Anchors, ahead: Sequence[Moment], kept: int, expected: Expected) -> int:
    """Of the steps that are not computed the one whose forecast is expected to add most."""
    found = {}
    for moment in ahead:
        if moment.step.index in chosen:
            anchors = after(anchors, moment, kept)
        else:
            found[moment.step.index] = expected(anchors or (ahead[0].time,), moment)
    return max(found, key=found.__getitem__)


def after(anchors: Anchors, moment: Moment, kept: int) -> Anchors:
    """The anchors once an evaluation was computed."""
    return (moment.time, *(anchor for anchor in anchors if anchor != moment.time))[:kept]


def computed(limit: float, anchors: Anchors, owed: float, ahead: Sequence[Moment], kept: int,
             expected: Expected) -> tuple[set[int], float, float]:
    """The steps that are computed where no gap may be expected to add more than the limit; and between which limits, from the first and
    below the second, they are the same."""
    found, least, above = set(), 0.0, math.inf
    for moment in ahead:
        owed += expected(anchors, moment) if anchors else 0.0
        if anchors and not moment.last:
            least, above = (max(least, owed), above) if owed <= limit else (least, min(above, owed))
        if not anchors or moment.last or owed > limit:
            found.add(moment.step.index)
            anchors, owed = after(anchors, moment, kept), 0.0
    return found, least, above
