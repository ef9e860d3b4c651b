"""Level output: what the model predicts is forecast, and nothing of it runs on a skipped step; it may be any model at all.

Not the clean picture is forecast, which changes most where little is known of it, but what it says of the noise: (x - prediction) /
sigma, the noise of models that predict noise and the velocity of rectified flow. Where a sampler adds new noise at every step that is
another noise each time, so there it is the clean picture after all.
"""

import torch

from ..calls.context import CallContext
from ..config import ToCaConfig
from ..costs.account import ModelCosts
from ..keep import memory
from ..keep.cache import OutputCache
from ..keep.forecast import bent_weights, noisy_weights, read_by_bent, taylor_weights
from ..keep.memory import Need
from .forecasting import NO_NOISE, Forecasting


class OutputCall:
    """One call, for the account. kind: "full" or "partial"."""

    fresh_per_block: dict[str, list[float]] = {}

    def __init__(self, about: CallContext, skip: bool):
        self.kind, self.entered = "partial" if skip else "full", skip or about.ran()
        self.recomputed = 0.0 if skip else 1.0
        self.plain_flops = plain_flops(about)
        self.flops = 0 if skip else self.plain_flops


def plain_flops(about: CallContext) -> int:
    """Of a model whose blocks are not known every call counts as one."""
    return 1 if about.bound is None else about.bound.plain_flops(about.sizes)


def kept(config: ToCaConfig, linear: bool) -> int:
    """How many anchors: other samplers than Euler's gain nothing by a line that bends (docs/bench/ablation_output.md)."""
    return read_by_bent(config.order) if linear else config.order + 1


def split(x, about: CallContext) -> list:
    """(B, C, ...) -> every part, (B, numbers, 1)."""
    rows = x.reshape(x.shape[0], -1, 1)
    return list(rows.split([part.count for part in about.parts], dim=1)) if about.parts else [rows]


def joined(parts: list, slopes: list[float], like):
    """The other way."""
    if len(parts) == 1:
        return parts[0].view(like.shape)
    return torch.cat([part * slope for part, slope in zip(parts, slopes, strict=True)], dim=1).view(like.shape)


class OutputLevel(Forecasting):
    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        """Samples are few numbers, in float32; a full step keeps the one that it is asked about while the model runs."""
        numbers = about.sizes.numbers
        anchors = memory.anchored(about.config, numbers, 1, memory.NUMBER, kept(about.config, about.linear))
        return anchors + Need(passing=memory.NUMBER * numbers)

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        return costs.plain_flops(about.sizes) if about.full else 0

    def new_cache(self, about: CallContext) -> OutputCache:
        weights = bent_weights if self.run.linear else noisy_weights if self.run.noisy else taylor_weights
        return OutputCache(about.config, max(1, len(about.parts)), weights, kept(about.config, self.run.linear))

    def call(self, run_model, about: CallContext, cache: OutputCache, account):
        sigma, skip = about.moment.sigma, not about.full
        times, slopes = self.own_times(about)
        known = sigma >= NO_NOISE and (skip or self.compares) and cache.fits(split(about.x, about))
        if skip and known:
            account(OutputCall(about, True))
            expected = self.followed(cache, about) if self.follows else joined(cache.at(times), slopes, about.x)
            return expected if self.run.noisy else about.x - sigma * expected
        x = about.x.clone()                                         # other nodes may write into what they are given
        output = run_model()
        account(OutputCall(about, False))
        if sigma < NO_NOISE:
            return output
        said = self.said(x, output, sigma)
        error = joined(cache.at(times), slopes, x).sub_(said) if known else None
        owed = 0.0 if error is None else self.hear_error(error, output, sigma)
        if owed:                                                    # the sample is changed by it, what it says of the clean picture is not
            said.add_(error, alpha=owed * about.moment.share)
        cache.add(times, [part / slope for part, slope in zip(split(said, about), slopes, strict=True)])
        if not owed and not self.follows:
            return output
        goes_on = self.followed(cache, about) if self.follows else said
        return x - sigma * (goes_on.sub(error, alpha=owed) if owed else goes_on)

    @property
    def follows(self) -> bool:
        """Whether every step goes on by the mean of what is expected along it."""
        return self.config.refine > 1

    def followed(self, cache: OutputCache, about: CallContext):
        return joined(cache.over(about.moment.pieces), [1.0], about.x)

    def own_times(self, about: CallContext) -> tuple[list[float], list[float]]:
        """-> (the time of each part, by how much its noise level changes with the run's)."""
        if not about.parts:
            return [about.time], [1.0]
        slopes = [1.0 if self.run.noisy else part.slope for part in about.parts]
        return [self.run.time_of(part.sigma) for part in about.parts], slopes

    def hear_error(self, error, output, sigma: float) -> float:
        """A forecast's error (B, C, ...) -> how much of it is owed: what earlier ones put into the sample, for this step to take back."""
        self.run.record.error(self.hear_said(error, output, sigma), output)
        return self.repayment()
