"""The stack level of one sampling run: full steps where the measured error asks for them, and that error's repayment."""

from ...toca_core.error_cycle import ErrorCycle
from ...toca_core.families.refresh import RefreshCache, RefreshCall
from ...toca_core.families.stack import StackCall
from ...toca_core.swap import swapped

REFRESHED_ERROR = 0.5       # error of computed tokens for that of their forecast, times the noise's share (demo model: 0.45 to 0.1)


class StackSteps:
    """Decides for every evaluation whether the blocks are skipped, and on full ones learns what skipping them would have given.

    refresh    which tokens are computed all the same, and the part of the picture that counts
    record     what is found of single tokens goes there
    euler      the sampler goes from prediction to prediction by Euler's step, so that a known error can be taken back
    """

    def __init__(self, config, cycle, refresh, record, euler: bool):
        self.config, self.refresh, self.record, self.euler = config, refresh, record, euler
        self.errors = ErrorCycle(config, cycle, 1.0 if refresh.region is None else refresh.region.drawn)
        self.found = []                                             # errors of this evaluation's forecasts, relative to the prediction

    def is_full(self, step, time: float, share: float, noise: float) -> bool:
        """As `ErrorCycle.is_full`; once per evaluation."""
        self.step, self.time, self.share, self.noise = step, time, share, noise
        return self.errors.is_full(step, time, share, noise)

    def learn(self) -> float | None:
        """The error of the last evaluation's forecasts, in percent: the one wait for the device, after full steps only."""
        if not self.found:
            return None
        error = max(float(error) for error in self.found)
        self.errors.measured(error, REFRESHED_ERROR * self.noise if self.refresh.masked else 1.0)
        self.found = []
        return 100 * error

    def call(self, call, bound, cache, sizes, skip: bool, account):
        """Skip the blocks, or run them and learn what skipping them would have given; account(session) is told what was computed."""
        session, forecast = self.session(bound, cache, sizes, skip), None
        if not skip and cache.anchors.features and (self.config.tolerance is not None or self.repays):
            trial = StackCall(bound, cache, self.time, sizes, skip=True)
            with swapped(trial.replacements()):
                forecast = call()
            session.flops += trial.flops
        with swapped(session.replacements()):
            output = call()
        account(session)
        return output if forecast is None else self.settle(output, forecast.sub_(output), cache)

    def session(self, bound, cache, sizes, skip: bool):
        if not isinstance(cache, RefreshCache) or skip and not self.errors.worthwhile:
            return StackCall(bound, cache, self.time, sizes, skip)
        since = self.step.index - (self.errors.last_full or 0)
        return RefreshCall(bound, cache, self.time, sizes, skip, since, max(self.config.max_gap, self.config.cycle))

    def settle(self, output, error, cache):
        """The prediction, with what its forecast's error (B, C, ...) tells of earlier ones taken back."""
        self.record.error(error, output)
        self.found.append(self.relative(error, output).amax())      # the worst picture decides
        if self.refresh.masked and isinstance(cache, RefreshCache):
            error.mul_(1 - self.refresh.region.computed(error))     # what was computed is not in debt
        return self.repay(output, error)

    def relative(self, error, output):
        """The error of each sample, relative to the prediction; where a region counts, inside it."""
        region = self.refresh.region
        if region is None or not region.fits(output):
            return rms(error) / rms(output)
        inside = region.inside(output)
        return rms(error * inside) / rms(output * inside).clamp_min(1e-12)          # a picture of a batch may have nothing inside

    @property
    def repays(self) -> bool:
        return self.euler and self.config.repayment > 0

    def repay(self, output, error):
        """Take back what the forecasts since the last full step have put into the sample: they erred as this step's would have."""
        debt = self.errors.debt() if self.repays else 0.0
        return output.sub_(error, alpha=self.config.repayment * debt / self.share) if debt else output


def rms(predictions):
    """Root mean square of each sample of (B, ...) -> (B,)."""
    return predictions.float().flatten(1).square().mean(1).sqrt()
