"""A number of calls shared out over the evaluations ahead, so that all gaps between them are expected to err alike."""

from collections.abc import Callable, Sequence

from .schedule import Moment

HALVINGS = 40                   # of the range in which the error of a gap is looked for

Expected = Callable[[Sequence[float], Moment], float]


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
    low, high = 0.0, owed + sum(expected(anchors or [ahead[0].time], moment) for moment in ahead)
    chosen = computed(high, anchors, owed, ahead, kept, expected)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = computed(middle, anchors, owed, ahead, kept, expected)
        if len(found) > calls:
            low = middle
        else:
            high, chosen = middle, found
    chosen = set(sorted(chosen)[:calls])
    while len(chosen) < calls:                                      # no limit gives just so many
        chosen.add(worst(chosen, anchors, ahead, kept, expected))
    return frozenset(chosen)


def worst(chosen: set[int], anchors: Sequence[float], ahead: Sequence[Moment], kept: int, expected: Expected) -> int:
    """Of the steps that are not computed the one whose forecast is expected to add most."""
    anchors, found = list(anchors), {}
    for moment in ahead:
        if moment.step.index in chosen:
            anchors = after(anchors, moment, kept)
        else:
            found[moment.step.index] = expected(anchors or [ahead[0].time], moment)
    return max(found, key=found.__getitem__)


def after(anchors: Sequence[float], moment: Moment, kept: int) -> list[float]:
    """The anchors once an evaluation was computed."""
    return [moment.time, *(anchor for anchor in anchors if anchor != moment.time)][:kept]


def computed(limit: float, anchors: Sequence[float], owed: float, ahead: Sequence[Moment], kept: int, expected: Expected) -> set[int]:
    """The steps that are computed where no gap may be expected to add more than the limit."""
    anchors, found = list(anchors), set()
    for moment in ahead:
        owed += expected(anchors, moment) if anchors else limit
        if not anchors or moment.last or owed > limit:
            found.add(moment.step.index)
            anchors, owed = after(anchors, moment, kept), 0.0
    return found
