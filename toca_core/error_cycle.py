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

from .config import ToCaConfig
from .keep.forecast import growth
from .schedule import Cycle, Step

LATE_WEIGHT = 0.02              # of an error where no noise is left
NO_NOISE = 0.01                 # share below which a step changes nothing
SMALL_SHARE = 1 / 3             # of the tolerance: where the forecast adds less than that to the sample, no token is computed


class ErrorCycle:
    """Decides evaluation by evaluation which steps are full; one per sampling run. Numbers only.

    drawn      share of the picture that is drawn, 0..1; the rest is known
    anchors    times of the last full steps, newest first
    error      of the last forecast measured, relative to the prediction; `unit` is the growth it was measured at
    computed   share of that error which stays where tokens are computed between full steps
    worthwhile whether the forecast of this step errs enough for that
    owed       what the forecasts since the last full step are expected to have added to the sample
    skipped    (time, share) of those steps
    """

    def __init__(self, config: ToCaConfig, fixed: Cycle, drawn: float = 1.0):
        self.config, self.fixed, self.drawn = config, fixed, drawn
        self.first_full = max(config.order + 2, config.warmup_steps)        # to forecast from, and one more step to measure that
        self.anchors: list[float] = []
        self.last_full: int | None = None
        self.was_full = False                                       # this evaluation
        self.error: float | None = None
        self.unit, self.computed, self.worthwhile, self.owed = 0.0, 1.0, True, 0.0
        self.skipped: list[tuple[float, float]] = []
        self.earlier: list[float] = []                              # the anchors before this full step
        self.repaid: list[tuple[float, float]] = []                 # the skipped steps before it

    def is_full(self, step: Step, time: float, share: float, noise: float) -> bool:
        """Call once per evaluation, in order.

        share: how much of a change of the prediction goes into the sample in this step; noise: its share in the sample, both 0..1.
        """
        full = self.was_full = self.due(step, time, share, noise)
        if full:
            self.last_full, self.earlier = step.index, self.anchors
            self.anchors = [time, *(anchor for anchor in self.anchors if anchor != time)][:self.config.order + 1]
            self.repaid, self.owed, self.skipped = self.skipped, 0.0, []
        else:
            self.skipped.append((time, share))
        return full

    def weight(self, noise: float) -> float:
        """How much an error counts, by the share of noise; the same in the mean over all shares, whatever is drawn."""
        return (2 + self.drawn) / 3 * noise ** (1 + self.drawn) + LATE_WEIGHT

    def due(self, step: Step, time: float, share: float, noise: float) -> bool:
        if self.config.tolerance is None:
            return "self_attn" in self.fixed.full_kinds(step)
        last = noise > NO_NOISE >= noise * (1 - share)              # that matters: from there on next to no noise is left
        if step.index < self.config.warmup_steps or last or self.error is None or self.last_full is None:
            return True
        tolerance, error = self.config.tolerance / 100, growth(self.anchors, time) / self.unit * self.error * share
        if noise <= NO_NOISE:                                       # a step from next to no noise puts next to nothing into the sample
            return error * noise ** (1 + self.drawn) > tolerance
        added = error * self.weight(noise)
        self.worthwhile = self.computed == 1 or added > SMALL_SHARE * tolerance
        self.owed += added * (self.computed if self.worthwhile else 1.0)
        return self.owed > tolerance or step.index - self.last_full >= self.config.max_gap

    def measured(self, error: float, computed: float = 1.0):
        """The error of the forecast at the last full step, relative to the prediction, and what stays of it in computed tokens."""
        self.computed = computed
        if len(self.earlier) > self.config.order:                   # else of a lower order than those to come
            self.unit = growth(self.earlier, self.anchors[0])
            self.error = error if self.unit else None

    def restart(self):
        """Something new is to be forecast: what was measured, and what is owed, holds no longer."""
        self.anchors, self.earlier = self.anchors[:1] if self.was_full else [], []
        self.error, self.owed, self.skipped, self.repaid = None, 0.0, [], []

    def debt(self) -> float:
        """What the forecasts before this full step have put into the sample, in units of the error a forecast has here."""
        if not (self.repaid and self.earlier):
            return 0.0
        unit = growth(self.earlier, self.anchors[0])
        return sum(growth(self.earlier, time) * share for time, share in self.repaid) / unit if unit else 0.0
