"""Published caches that decide while a run goes on, each as its paper or its authors' code has it, written anew.

Every one computes its first `first` steps, and skips no more than `longest` in a row where it has such a limit.
"""

from benchmarks.rivals.forecasts import History, chebyshev, taylor
from benchmarks.rivals.seam import Rule, at_blocks, at_modules

FIRST = 3                           # steps that every rule computes first


def change(now, before) -> float:
    """Relative change in L1, over the batch."""
    return float((now - before).abs().mean() / before.abs().mean())


class TaylorSeer(Rule):
    """arXiv 2503.06923, Liu, Zou et al.: every attention's and MLP's output is forecast; every `cycle`-th step is computed.

    At the modules: the modulations and gates of a skipped step are its own.
    """

    def __init__(self, sigmas, cycle: int, order: int):
        super().__init__(sigmas)
        self.cycle, self.order, self.known = cycle, order, {}

    def call(self, through):
        return through(at_modules, self.visit)

    def visit(self, key, compute):
        history = self.known.setdefault(key, History(self.order + 1))
        if self.step >= FIRST and (self.step - FIRST + 1) % self.cycle:
            return history.combined(taylor(history.times, self.step, self.order))
        output = compute()
        history.add(self.step, output)
        return output


class StackRule(Rule):
    """All blocks are passed by together; what they add to the picture's tokens is forecast."""

    keep, order, first = 1, 0, FIRST

    def __init__(self, sigmas):
        super().__init__(sigmas)
        self.residuals, self.skipped = History(self.keep), 0

    def call(self, through):
        self.skip = self.step >= self.first and not self.is_full()
        self.skipped = self.skipped + 1 if self.skip else 0
        return through(at_blocks, self.visit)

    def is_full(self) -> bool:
        raise NotImplementedError

    def visit(self, place, tokens, compute):
        if place.first:
            self.entry = tokens.clone()
        if not self.skip:
            tokens = compute()
        if not place.last:
            return tokens
        if self.skip:
            return self.forecast()
        self.learn(tokens[:, -self.entry.shape[1]:])
        return tokens

    def learn(self, tokens):
        self.residuals.add(self.step, tokens - self.entry)

    def forecast(self):
        """The picture's tokens (B, N, C) after the last block."""
        return self.entry + self.residuals.combined(taylor(self.residuals.times, self.step, self.order))


class MagCache(StackRule):
    """arXiv 2506.09045, Ma et al.: the last residual again while the product of calibrated ratios of magnitudes stays near to one.

    ratios    of the residual's magnitude at each step to that at the one before (`magcache_flux.py`, magcache_calibration)
    """

    def __init__(self, sigmas, ratios: list[float], threshold: float, longest: int):
        super().__init__(sigmas)
        self.ratios, self.threshold, self.longest = ratios, threshold, longest
        self.ratio, self.error = 1.0, 0.0

    def is_full(self):
        self.ratio *= self.ratios[self.step]
        self.error += abs(1 - self.ratio)
        if self.error <= self.threshold and self.skipped < self.longest:
            return False
        self.ratio, self.error = 1.0, 0.0
        return True


class Spectrum(StackRule):
    """arXiv 2603.01623, Han et al.: the tokens that leave the last block, by Chebyshev polynomials through all computed steps.

    window, growth    a step in so many is computed; the window grows with each (`flux_forward.py`)
    share             of the fit; the rest is Taylor's line through the newest two
    """

    keep, DEGREE, RIDGE = 100, 4, 0.1

    def __init__(self, sigmas, window: float, growth: float, share: float):
        super().__init__(sigmas)
        self.window, self.growth, self.share = window, growth, share

    def is_full(self):
        full = (self.skipped + 1) % int(self.window) == 0
        self.window += self.growth if full else 0.0
        return full

    def learn(self, tokens):
        self.residuals.add(self.step, tokens.clone())

    def forecast(self):
        return self.residuals.combined(chebyshev(self.residuals.times, self.step, self.steps, self.DEGREE, self.RIDGE, self.share))


class ProbeRule(Rule):
    """The first block is computed at every step and says whether the others are."""

    def __init__(self, sigmas, threshold: float, longest: int):
        super().__init__(sigmas)
        self.threshold, self.longest, self.skipped = threshold, longest, 0

    def call(self, through):
        return through(at_blocks, self.visit)

    def visit(self, place, tokens, compute):
        if place.first:
            self.entry = tokens.clone()
            self.probe = compute().clone()
            self.skip = self.step >= FIRST and self.skipped < self.longest and self.may_skip()
            self.skipped = self.skipped + 1 if self.skip else 0
            self.probed()
            return self.probe.clone()
        if not self.skip:
            tokens = compute()
        if not place.last:
            return tokens
        if self.skip:
            return self.forecast()
        self.learn(tokens[:, -self.entry.shape[1]:])
        return tokens

    def probed(self):
        """After the first block of every step."""


class DBCache(ProbeRule):
    """cache-dit (vipshop), DBCache F1B0: what the first block adds, against the last computed step, decides.

    What the other blocks add is forecast.

    order    of TaylorSeer's forecast, 0: what they added last
    """

    def __init__(self, sigmas, threshold: float, longest: int, order: int):
        super().__init__(sigmas, threshold, longest)
        self.order, self.rests = order, History(order + 1)

    def may_skip(self):
        return change(self.probe - self.entry, self.first_residual) < self.threshold

    def learn(self, tokens):
        self.first_residual = self.probe - self.entry
        self.rests.add(self.step, tokens - self.probe)

    def forecast(self):
        return self.probe + self.rests.combined(taylor(self.rests.times, self.step, self.order))


class DiCache(ProbeRule):
    """arXiv 2508.17356, Bu et al.: changes of the first block's output add up to a threshold; two residuals are mixed as the probe's were.

    minus_input    whether the change of what enters is taken off (`run_flux_dicache.py`, delta_minus), or not (delta_y)
    """

    GAMMA = (1.0, 1.5)

    def __init__(self, sigmas, threshold: float, longest: int, minus_input: bool):
        super().__init__(sigmas, threshold, longest)
        self.minus_input, self.grown, self.before = minus_input, 0.0, None
        self.residuals, self.probes = History(2), History(2)

    def may_skip(self):
        entry, probe = self.before
        grown = change(self.probe, probe)
        self.grown += abs(grown - change(self.entry, entry)) if self.minus_input else grown
        return self.grown < self.threshold

    def probed(self):
        self.before = self.entry, self.probe
        self.grown = self.grown if self.skip else 0.0

    def learn(self, tokens):
        self.residuals.add(self.step, tokens - self.entry)
        self.probes.add(self.step, self.probe - self.entry)

    def forecast(self):
        newest, older = self.probes.features
        gamma = ((self.probe - self.entry - older).abs().mean() / (newest - older).abs().mean()).clamp(*self.GAMMA)
        newest, older = self.residuals.features
        return self.entry + older + gamma * (newest - older)


class SpeCa(Rule):
    """arXiv 2509.11628, Liu et al., forecast then verify: the last block is computed on what is drafted to enter it.

    What it returns is held against what was drafted to leave it; both drafts are Taylor's.
    A draft is refused where the relative L2 error is above threshold * decay ** (share of the run that is done).
    """

    def __init__(self, sigmas, threshold: float, decay: float, order: int, longest: int):
        super().__init__(sigmas)
        self.threshold, self.decay, self.order, self.longest = threshold, decay, order, longest
        self.entering, self.leaving, self.skipped = History(order + 1), History(order + 1), 0

    def call(self, through):
        if self.step >= FIRST and self.skipped < self.longest:
            output = through(at_blocks, self.draft)
            if self.accepted:
                self.skipped += 1
                return output
        self.skipped = 0
        return through(at_blocks, self.full)

    def draft(self, place, tokens, compute):
        if place.first:
            self.entry = tokens
        if not place.last:
            return tokens
        weights = taylor(self.leaving.times, self.step, self.order)
        expected = self.entry + self.leaving.combined(weights)
        checked = compute(self.entry + self.entering.combined(weights))
        errors = (checked - expected).flatten(1).norm(dim=1) / checked.flatten(1).norm(dim=1)
        self.accepted = float(errors.mean()) < self.threshold * self.decay ** (self.step / self.steps)
        return expected

    def full(self, place, tokens, compute):
        if place.first:
            self.entry = tokens.clone()
        if place.last:
            self.entering.add(self.step, tokens - self.entry)
        tokens = compute()
        if place.last:
            self.leaving.add(self.step, tokens - self.entry)
        return tokens
