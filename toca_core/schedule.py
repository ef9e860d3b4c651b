"""Which steps are full, and how many tokens are fresh where: plain numbers, decided before any tensor is touched."""

import bisect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .config import KINDS, ToCaConfig

NO_NOISE = 0.01                 # share below which a step changes nothing
FEWEST_QUERIES = 256            # that s1 is read from (docs/bench/scoring.md)


@dataclass(frozen=True)
class Step:
    """One evaluation of the model by the sampler.

    index      counts evaluations up from 0
    position   place in the sampler's list of sigmas, 0..total; equal to `index` for samplers with one call a step
    total      T, the number of sampling steps
    """
    index: int
    position: float
    total: int

    @property
    def remaining(self) -> float:
        """s = T - 1 - i, the released code's downward count."""
        return self.total - 1 - self.position


@dataclass(frozen=True)
class Moment:
    """One evaluation of the model by the sampler.

    sigma     its noise level
    time      of forecasts (`keep.forecast.time_of`)
    share     how much of a change of the prediction goes into the sample in this step, 0..1
    noise     share of noise in the sample, 0..1
    pieces    (time, width) of the parts in which the step is followed: what the noise level falls by in each
    left      how many of these evaluations may be computed, where a number of calls is given
    ahead     () -> the evaluations from this one on that may be forecast, where it is; asked only where a plan is made
    """
    step: Step
    sigma: float = 1.0
    time: float = 0.0
    share: float = 1.0
    noise: float = 1.0
    pieces: tuple[tuple[float, float], ...] = ()
    left: int | None = None
    ahead: Callable[[], list["Moment"]] = list

    @property
    def last(self) -> bool:
        """The last step that matters: from there on next to no noise is left."""
        return self.noise > NO_NOISE >= self.noise * (1 - self.share)

    @property
    def width(self) -> float:
        """What the noise level falls by in this step."""
        return sum(width for _, width in self.pieces)


class NoiseLevels:
    """The noise levels of a sampling run, descending, the last one where it ends."""

    def __init__(self, sigmas: list[float]):
        self.sigmas, self.total = sigmas, max(1, len(sigmas) - 1)

    def below(self, sigma: float) -> list[float]:
        """The lower ones but the last, where nothing is asked."""
        return [level for level in self.sigmas[:-1] if level < sigma * (1 - 1e-6)]

    def following(self, sigma: float) -> float:
        """The next lower level, 0 after the last."""
        after = bisect.bisect_right(self.sigmas, -sigma * (1 - 1e-6), key=operator.neg)
        return self.sigmas[after] if after < len(self.sigmas) else 0.0

    def preceding(self, sigma: float) -> float:
        """The level itself, or where a sampler leaves the list the next higher one, from where its step began."""
        after = bisect.bisect_left(self.sigmas, -sigma * (1 + 1e-6), key=operator.neg)     # first entry at or below sigma, or next to it
        if after < len(self.sigmas) and abs(self.sigmas[after] - sigma) <= 1e-6 * sigma or after == 0:
            return sigma
        return self.sigmas[after - 1]

    def nearest(self, sigma: float) -> float:
        """The level that is nearest."""
        return self.sigmas[min(round(self.position(sigma)), len(self.sigmas) - 1)]

    def position(self, sigma: float) -> float:
        """Where a level lies in the list, 0..total; between entries where a sampler leaves the list."""
        after = bisect.bisect_left(self.sigmas, -sigma, key=operator.neg)              # first entry at or below sigma
        if after == 0:
            return 0
        if after == len(self.sigmas):
            return self.total
        above, below = self.sigmas[after - 1], self.sigmas[after]
        if sigma - below <= 1e-6 * above:
            return after
        return after - (sigma - below) / (above - below)


def layer_factor(slope: float, block: int, divisor: int) -> float:
    return 1 + slope - 2 * slope * block / max(divisor, 1)


def step_factor(slope: float, step: Step) -> float:
    """Linear along the run; a negative slope counts from the end, as DiT's released schedule does."""
    if slope >= 0:
        return 1 + slope - 2 * slope * step.position / step.total
    return 1 - slope + 2 * slope * step.remaining / step.total


def fresh_ratio(config: ToCaConfig, step: Step, site, block: int, depth: int) -> float:
    """Share of fresh tokens of a site (`costs/account.py`) in one block at a partial step, before clamping."""
    if site.kind == "self_attn":
        return 0.0
    given = config.ratios_of(site.name, site.kind)
    if given is not None:
        return given[block % len(given)] * step_factor(config.step_slope, step)
    divisor = depth - 1 if config.layer_divisor is None else config.layer_divisor
    factors = layer_factor(config.layer_slope, block, divisor) * step_factor(config.step_slope, step)
    return config.fresh_ratio * factors * config.share_of(site.kind)


def fresh_count(ratio: float, tokens: int) -> int:
    """floor(ratio x tokens) with the ratio clamped to 0..1 and the product in float32, as in the released code."""
    return int(np.float32(min(max(ratio, 0.0), 1.0)) * np.float32(tokens))


def fresh_counts(config: ToCaConfig, step: Step, site, depth: int, tokens: int) -> list[int]:
    return [fresh_count(fresh_ratio(config, step, site, block, depth), tokens) for block in range(depth)]


def queries_read(config: ToCaConfig, tokens: int) -> int:
    """From how many of the queries of an attention of so many tokens s1 is read."""
    return min(tokens, max(FEWEST_QUERIES, math.ceil(config.score_queries * tokens)))


def interval(config: ToCaConfig, cycle: int, step: Step) -> int:
    """The distance between full steps, as renewed at a full step (round half to even)."""
    total = step.total
    if config.cycle_rule == "dit":
        if int(0.2 * total) <= step.remaining < int(0.4 * total):
            return 2
        return max(1, round(cycle / (1.4 - 0.8 * max(step.remaining, 0) / total)))
    if config.cycle_rule == "pixart":
        return max(1, round(cycle / (0.8 + 0.4 * min(step.position, total) / total)))
    return cycle


class Cycle:
    """Decides, evaluation by evaluation, which kinds of modules compute every token. One per sampling run."""

    def __init__(self, config: ToCaConfig):
        self.config = config
        self.interval: dict[str, int] = {}
        self.last_full: dict[str, int] = {}

    def full_kinds(self, step: Step) -> frozenset[str]:
        """Call once per step, in order."""
        full = frozenset(kind for kind in KINDS if self.is_full(kind, step))
        for kind in full:
            self.interval[kind], self.last_full[kind] = interval(self.config, self.config.cycle_of(kind), step), step.index
        return full

    def is_full(self, kind: str, step: Step) -> bool:
        first = step.index < self.config.warmup_steps or kind not in self.interval
        return first or self.config.always_full or self.due(kind, step.index, step.total)

    def due(self, kind: str, index: int, total: int) -> bool:
        if self.config.cycle_rule == "dit":
            return (total - 1 - index) % self.interval[kind] == 0
        if self.config.cycle_rule in ("multiples", "pixart"):
            return index % self.interval[kind] == 0
        return index - self.last_full[kind] >= self.interval[kind]

    def partial_steps_ahead(self, step: Step, kind: str) -> int:
        """How many partial steps of a kind follow its full step before the next full one."""
        count, following = 0, step.index + 1
        while count < 2 * self.interval[kind] and following >= self.config.warmup_steps and not self.due(kind, following, step.total):
            count, following = count + 1, following + 1
        return count
