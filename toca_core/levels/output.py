"""Level output: what the model predicts is forecast, and nothing of it runs on a skipped step; it may be any model at all.

Not the clean picture is forecast, which changes most where little is known of it, but what it says of the noise: (x - prediction) /
sigma, the noise of models that predict noise and the velocity of rectified flow. Where a sampler adds new noise at every step that is
another noise each time, so there it is the clean picture after all.
"""

import torch

from ..calls.context import CallContext
from ..costs.account import ModelCosts
from ..keep import memory
from ..keep.cache import OutputCache
from ..keep.memory import Need
from ..quality import rms
from .forecasting import Forecasting

NO_NOISE = 1e-6                 # noise level below which a prediction says nothing of the noise


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


def split(x, about: CallContext) -> list:
    """(B, C, ...) -> every part, (B, numbers, 1)."""
    rows = x.reshape(x.shape[0], -1, 1)
    return list(rows.split([part.count for part in about.parts], dim=1)) if about.parts else [rows]


def joined(parts: list | None, slopes: list[float], like):
    """The other way; None where there are none."""
    if parts is None:
        return None
    if len(parts) == 1:
        return parts[0].view(like.shape)
    return torch.cat([part * slope for part, slope in zip(parts, slopes, strict=True)], dim=1).view(like.shape)


class OutputLevel(Forecasting):
    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        """Samples are few numbers, in float32."""
        return memory.anchored(about.config, about.sizes.numbers, 1, memory.NUMBER)

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        return costs.plain_flops(about.sizes) if about.full else 0

    def new_cache(self, about: CallContext) -> OutputCache:
        return OutputCache(about.config, max(1, len(about.parts)))

    def call(self, run_model, about: CallContext, cache: OutputCache, account):
        sigma, skip = about.moment.sigma, not about.full
        times, slopes = self.own_times(about)
        known = sigma >= NO_NOISE and (skip or self.compares)
        expected = joined(cache.at(times, split(about.x, about)), slopes, about.x) if known else None
        if skip and expected is not None:
            account(OutputCall(about, True))
            return expected if self.run.noisy else about.x - sigma * expected
        x = about.x.clone()                                         # other nodes may write into what they are given
        output = run_model()
        account(OutputCall(about, False))
        if sigma < NO_NOISE:
            return output
        said = output if self.run.noisy else (x - output) / sigma
        cache.add(times, [part / slope for part, slope in zip(split(said, about), slopes, strict=True)])
        if expected is None:
            return output
        return self.settle(output, expected.sub_(said).mul_(1.0 if self.run.noisy else -sigma))

    def own_times(self, about: CallContext) -> tuple[list[float], list[float]]:
        """-> (the time of each part, by how much its noise level changes with the run's)."""
        if not about.parts:
            return [about.time], [1.0]
        slopes = [1.0 if self.run.noisy else part.slope for part in about.parts]
        return [self.run.time_of(part.sigma) for part in about.parts], slopes

    def settle(self, output, error):
        """The prediction, with what its forecast's error (B, C, ...) tells of earlier ones taken back."""
        self.run.record.error(error, output)
        region = self.run.region
        inside = region.inside(output) if region is not None and region.fits(output) else None
        relative = rms(error) / rms(output) if inside is None else rms(error * inside) / rms(output * inside).clamp_min(1e-12)
        self.hear(relative, output)
        owed = self.repayment()
        return output.sub(error, alpha=owed) if owed else output
