"""The evaluations of a sampling run: the one that is asked for, and those to be expected after it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from .config import ToCaConfig
from .keep.forecast import noise_share, time_of
from .schedule import Moment, NoiseLevels, Step

ALIKE = 1e-3                    # of a step, below which noise levels differ by rounding alone
RISE = 1.5                      # steps: so far a sampler goes back up within a step of its own
PIECES = 4                      # in which a part of a step is followed along the forecast, where steps have parts


def finer(sigmas: Sequence[float], parts: int) -> list[float]:
    """Noise levels with every step between two of them cut into so many parts."""
    between = (above + (below - above) * part / parts for above, below in itertools.pairwise(sigmas) for part in range(parts))
    return [*between, *sigmas[-1:]]


class Timeline:
    """
    sigmas         the run's noise levels, descending, as numbers; with its steps cut into parts, where they are
    sigma_range    steps may be forecast for sigmas in (end, start]
    flow           rectified flow, whose sigmas are shares of noise
    """

    def __init__(self, sigmas: Sequence[float], sigma_range: tuple[float, float] = (math.inf, -1.0), flow: bool = False):
        self.levels, self.flow, (self.start, self.end) = NoiseLevels(list(sigmas)), flow, sigma_range
        self.known: tuple[float, ...] = ()
        self.furthest, self.asked = 0.0, math.inf

    def settled(self, sigma: float) -> float:
        """The noise level of an evaluation, as the schedule or the evaluation before has it where it differs by rounding alone.

        Some samplers reckon where a step's second half begins and come out beside the next level: asked about in order, two that are one.
        """
        near = ALIKE * (self.levels.preceding(sigma) - self.levels.following(sigma))
        nearest = self.levels.nearest(sigma)
        self.asked = next((level for level in (self.asked, nearest) if abs(level - sigma) <= near), sigma)
        return self.asked

    def rose(self, step: Step) -> bool:
        """Whether the noise rose to this evaluation by more than a sampler's own steps, as in restart sampling: the noise is new then."""
        rose = step.position < self.furthest - RISE
        self.furthest = step.position if rose else max(self.furthest, step.position)
        return rose

    def foresee(self, known: Sequence[float]):
        """The noise levels that the sampler will ask about, in order, where that can be told before."""
        self.known = tuple(self.settled(sigma) for sigma in known)
        self.asked = math.inf

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

    def time(self, sigma: float) -> float:
        """Of forecasts."""
        return time_of(sigma, self.flow)

    def moment(self, index: int, sigma: float, config: ToCaConfig) -> Moment:
        """One evaluation, as settings would have it."""
        above, below = self.levels.preceding(sigma), self.levels.following(sigma)
        pieces: tuple[tuple[float, float], ...] = ((self.time(sigma), above - below),)
        if config.refine > 1:
            width = (above - below) / PIECES
            pieces = tuple((self.time(above - (piece + 0.5) * width), width) for piece in range(PIECES))
        share = 1 - below / max(above, 1e-9)                        # of the whole step, in its middle too
        step = Step(index, self.levels.position(sigma), self.levels.total)
        return Moment(step, sigma, self.time(sigma), share, noise_share(sigma, self.flow), pieces)

    def counted(self, moment: Moment, config: ToCaConfig, computed: int) -> Moment:
        """The same, with what is left of a number of calls after so many were computed."""
        first, sigmas = moment.step.index, self.ahead(moment.step.index, moment.sigma)
        closed = sum(not self.open(sigma) for sigma in sigmas)

        def ahead() -> list[Moment]:
            return [self.moment(first + place, sigma, config) for place, sigma in enumerate(sigmas) if self.open(sigma)]
        return replace(moment, left=allowed(config, self.evaluations / config.refine) - computed - closed, ahead=ahead)


def allowed(config: ToCaConfig, evaluations: float) -> int:
    """How many calls of the model a run may take that would take so many without a cache."""
    return max(1, min(count for count in (config.calls, round(evaluations / config.speed) if config.speed else 0) if count))
