"""The evaluations of a sampling run: the one that is asked for, and those to be expected after it."""

import math
from collections.abc import Sequence
from dataclasses import replace

from .config import ToCaConfig
from .keep.forecast import time_of
from .schedule import Moment, NoiseLevels, Step


class Timeline:
    """
    sigmas         the run's noise levels, descending, as numbers
    sigma_range    steps may be forecast for sigmas in (end, start]
    flow           rectified flow, whose sigmas are shares of noise
    """

    def __init__(self, sigmas: Sequence[float], sigma_range: tuple[float, float] = (math.inf, -1.0), flow: bool = False):
        self.levels, self.flow, (self.start, self.end) = NoiseLevels(list(sigmas)), flow, sigma_range
        self.known: tuple[float, ...] = ()

    def foresee(self, known: Sequence[float]):
        """The noise levels that the sampler will ask about, in order, where that can be told before."""
        self.known = tuple(known)

    @property
    def evaluations(self) -> int:
        """How many there will be: without knowledge, one a step."""
        return len(self.known) or self.levels.total

    def open(self, sigma: float) -> bool:
        """Whether steps may be forecast there."""
        return self.end < sigma <= self.start

    def ahead(self, index: int, sigma: float) -> list[float]:
        """The noise levels from this evaluation on; one a step where they do not come as foreseen."""
        if index < len(self.known) and abs(self.known[index] - sigma) <= 1e-3 * max(sigma, self.known[index]):
            return list(self.known[index:])
        return [sigma, *self.levels.below(sigma)]

    def time(self, sigma: float, kind: str) -> float:
        return time_of(sigma, kind, self.flow)

    def moment(self, index: int, sigma: float, config: ToCaConfig) -> Moment:
        """One evaluation; its step is followed in `config.refine` parts."""
        above, below = self.levels.preceding(sigma), self.levels.following(sigma)
        parts, kind = config.refine, config.forecast_time
        width = (above - below) / parts
        pieces = ((self.time(sigma, kind), width),) if parts == 1 else tuple(
            (self.time(above - (part + 0.5) * width, kind), width) for part in range(parts))
        share = 1 - below / max(above, 1e-9)                        # of the whole step, in its middle too
        step = Step(index, self.levels.position(sigma), self.levels.total)
        return Moment(step, sigma, self.time(sigma, kind), share, self.time(sigma, "sigma"), pieces)

    def counted(self, moment: Moment, config: ToCaConfig, computed: int) -> Moment:
        """The same, with what is left of a number of calls after so many were computed."""
        sigmas = self.ahead(moment.step.index, moment.sigma)
        ahead = [self.moment(moment.step.index + place, sigma, config) for place, sigma in enumerate(sigmas) if self.open(sigma)]
        given = [count for count in (config.calls, round(self.evaluations / config.speed) if config.speed else 0) if count]
        return replace(moment, left=max(1, min(given)) - computed - (len(sigmas) - len(ahead)), ahead=tuple(ahead))
