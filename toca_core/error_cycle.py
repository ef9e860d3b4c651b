"""Full steps where the measured error asks for them.

At a full step the forecast that would have been used is compared with the truth. A forecast's error grows with the distances to
its anchors (`forecast.growth`), so that measurement says how large it will be at the steps ahead, and what it will have added to
the sample by then; once that passes the tolerance, a step is full. What is added early decides more of the picture than what is
added late: an error counts with the square of the share of noise still in the sample, and a little besides, since the last errors
are not mended by any step after them (measured on the demo model: at equal cost 3 dB above counting all alike, and the worst
pictures 5 dB; without the little, 5 dB lower with schedules that end in a step from next to no noise). Where what surrounds the
drawn part is known, as in inpainting, the early steps have less to decide: the smaller that part, the nearer to the share itself
(there, with 14% and 56% of the picture drawn, 1 to 2 dB above the square).
"""

import math
import statistics
from collections.abc import Sequence
from functools import partial

from .config import ToCaConfig
from .keep.forecast import growth
from .planning import planned, remembered
from .schedule import NO_NOISE, Cycle, Moment

LEAST_OF_MEAN = 2 / 3           # of the geometric mean of a run's rates of error, since they fall along the run (both bundled models)
BEFORE = 2.0                    # distance in time to where an anchor that is not there yet would be
LATE_WEIGHT = 0.02              # of an error where no noise is left
LAST_WEIGHT = 0.002             # of one in a step from next to no noise, which is the run's last
NOISY_FALL = 2                  # power of the share of noise by which the clean picture's errors fall (docs/bench/noisy.md)
NOISY_LATE_WEIGHT = 0.01        # as LATE_WEIGHT, of the clean picture's errors
SMALL_SHARE = 1 / 3             # of the tolerance: where the forecast adds less than that to the sample, no token is computed


class ErrorCycle:
    """Decides evaluation by evaluation which steps are full; one per sampling run. Numbers only.

    drawn      share of the picture that is drawn, 0..1; the rest is known
    anchors    times of the last full steps, newest first
    rate       by which the next forecasts err, relative to the prediction, in units of `growth`; None where nothing was measured
    rates      of the forecasts measured so far, their logarithms
    computed   share of that error which stays where tokens are computed between full steps
    worthwhile whether the forecast of this step errs enough for that
    owed       what the forecasts since the last full step are expected to have added to the sample
    skipped    (time, width) of those steps' pieces
    noisy      new noise comes at every step, so that the clean picture is forecast: its errors fall so far along a run that earlier ones
               say nothing of those to come, and late ones count for less where steps are planned beforehand
    relative   what they put into the sample counts by its noise level there, so that earlier steps leave less to be taken back: measured
               to keep closer where tokens are forecast, not the prediction
    """

    def __init__(self, config: ToCaConfig, fixed: Cycle, drawn: float = 1.0, relative: bool = False, noisy: bool = False):
        self.config, self.fixed, self.drawn, self.relative, self.noisy = config, fixed, drawn, relative, noisy
        self.first_full = max(config.order + 2, config.warmup_steps)        # to forecast from, and one more step to measure that
        self.anchors: list[float] = []
        self.last_full: int | None = None
        self.was_full = False                                       # this evaluation
        self.rate: float | None = None
        self.rates: list[float] = []
        self.computed, self.worthwhile, self.owed = 1.0, True, 0.0
        self.skipped: list[tuple[float, float]] = []
        self.earlier: list[float] = []                              # the anchors before this full step
        self.repaid: list[tuple[float, float]] = []                 # the pieces forecast before it
        self.growth = partial(growth, noisy=noisy)
        self.foreseen = remembered(self.expected)
        self.plan: tuple[int | None, frozenset[int]] = None, frozenset()    # calls that were left when it was made, steps that are full

    def is_full(self, moment: Moment) -> bool:
        """Call once per evaluation, in order."""
        full = self.was_full = self.due(moment)
        if full:
            self.last_full, self.earlier = moment.step.index, self.anchors
            self.anchors = [moment.time, *(anchor for anchor in self.anchors if anchor != moment.time)][:self.config.order + 1]
            self.repaid, self.owed, self.skipped = self.skipped, 0.0, []
        if not full or self.config.refine > 1:                      # a full step goes on along the forecast too
            self.skipped = [*self.skipped, *self.put_in(moment)]
        return full

    def put_in(self, moment: Moment) -> Sequence[tuple[float, float]]:
        """(time, how much of a forecast's error goes into the sample) of a step's pieces."""
        return ((moment.time, moment.share),) if self.relative else moment.pieces

    def weight(self, noise: float) -> float:
        """How much an error counts, by the share of noise; the same in the mean over all shares, whatever is drawn.

        A step from next to no noise puts little into the sample. (The demo model, 8 pictures: with nothing in its place, 14, 15, 17 and 18
        calls of 20 lose 2 to 6 dB, and 16 gain 5; with as much as any other's, 5 calls of 6 or 7 of 8 lose 17 to 29 dB.)
        """
        return self.early_weight(noise) + (LATE_WEIGHT if noise > NO_NOISE else LAST_WEIGHT)

    def early_weight(self, noise: float) -> float:
        return (2 + self.drawn) / 3 * noise ** (1 + self.drawn)

    def planned_weight(self, noise: float) -> float:
        """Likewise where no error will be measured: with the clean picture's errors, as they fall along a run that adds noise."""
        if not self.noisy or noise <= NO_NOISE:
            return self.weight(noise)
        return self.early_weight(noise) * noise ** NOISY_FALL + NOISY_LATE_WEIGHT

    def due(self, moment: Moment) -> bool:
        if moment.left is not None:
            return self.placed(moment, moment.left)
        step, noise, parts = moment.step, moment.noise, self.config.refine
        if self.config.tolerance is None:
            return "self_attn" in self.fixed.full_kinds(step)
        if moment.last or self.last_full is None:
            return True
        if step.index < self.config.warmup_steps * parts or self.rate is None:
            return step.index % parts == 0
        tolerance, error = self.config.tolerance / 100, self.mean_growth(self.anchors, moment) * self.rate * moment.share
        added = error * self.weight(noise)
        if noise <= NO_NOISE:
            return added > tolerance
        self.worthwhile = self.computed == 1 or added > SMALL_SHARE * tolerance
        self.owed += added * (self.computed if self.worthwhile else 1.0)
        return self.owed > tolerance or step.index - self.last_full >= self.config.max_gap * parts

    def placed(self, moment: Moment, left: int) -> bool:
        """Of a run with a number of calls, of which some are left."""
        if left != self.plan[0]:
            self.plan = left, planned(left, self.anchors, self.owed, moment.ahead(), self.config.order + 1, self.foreseen)
        if self.anchors:
            self.owed += self.expected(self.anchors, moment)
        return moment.step.index in self.plan[1]

    def expected(self, anchors: Sequence[float], moment: Moment) -> float:
        """What a forecast from anchors adds to the sample, up to a factor that is the same for all; of one of a lower order too."""
        lacking = self.config.order + 1 - len(anchors)
        beyond = (abs(moment.time - anchors[-1]) + BEFORE) ** max(0, lacking)
        return self.mean_growth(anchors, moment) * beyond * moment.share * self.planned_weight(moment.noise)

    def measured(self, error: float, computed: float = 1.0):
        """The error of the forecast at the last full step, relative to the prediction, and what stays of it in computed tokens."""
        self.computed = computed
        if len(self.earlier) > self.config.order:                   # else of a lower order than those to come
            unit = self.growth(self.earlier, self.anchors[0])
            self.rate = self.to_come(error / unit) if unit else None

    def to_come(self, newest: float) -> float:
        """By which the next forecasts err: as the newest, but no less than most of the run's did, which one that erred little by chance
        must not make forgotten."""
        if 0 < newest < math.inf and not self.noisy:
            self.rates.append(math.log(newest))
        return max(newest, LEAST_OF_MEAN * math.exp(statistics.fmean(self.rates))) if self.rates else newest

    def restart(self):
        """Something new is to be forecast: what was measured, and what is owed, holds no longer."""
        self.anchors, self.earlier = self.anchors[:1] if self.was_full else [], []
        self.rate, self.rates, self.owed, self.skipped, self.repaid = None, [], 0.0, [], []

    def debt(self, moment: Moment) -> float:
        """What the forecasts before this full step have put into the sample, in units of what one would put in here."""
        here = sum(width for _, width in self.put_in(moment))
        if not (self.repaid and self.earlier and here):
            return 0.0
        unit = self.growth(self.earlier, self.anchors[0]) * here
        return sum(self.growth(self.earlier, time) * width for time, width in self.repaid) / unit if unit else 0.0

    def mean_growth(self, anchors: Sequence[float], moment: Moment) -> float:
        """Of the forecasts that one step is followed by."""
        if len(moment.pieces) < 2:
            return self.growth(anchors, moment.time)
        return sum(self.growth(anchors, time) * width for time, width in moment.pieces) / moment.width
