"""Level output: what the model predicts is forecast, and nothing of it runs on a skipped step; it may be any model at all.

Not the clean picture is forecast, which changes most where little is known of it, but what it says of the noise: (x - prediction) /
sigma, the noise of models that predict noise and the velocity of rectified flow.
"""

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

    fresh_per_block = {}

    def __init__(self, about: CallContext, skip: bool):
        self.kind, self.entered = "partial" if skip else "full", True
        self.recomputed = 0.0 if skip else 1.0
        self.plain_flops = plain_flops(about)
        self.flops = 0 if skip else self.plain_flops


def plain_flops(about: CallContext) -> int:
    """Of a model whose blocks are not known every call counts as one."""
    return 1 if about.bound is None else about.bound.plain_flops(about.sizes)


class OutputLevel(Forecasting):
    plain_flops = staticmethod(plain_flops)

    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        """Samples are few numbers, in float32."""
        return memory.anchored(about.config, about.sizes.numbers, 1, memory.NUMBER)

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        return costs.plain_flops(about.sizes) if about.full else 0

    def new_cache(self, about: CallContext) -> OutputCache:
        return OutputCache(about.config)

    def call(self, run_model, about: CallContext, cache: OutputCache, account):
        sigma, skip = about.moment.sigma, not about.full
        if sigma < NO_NOISE:
            skip = False
        expected = cache.at(about.x, about.time) if skip or self.compares else None
        if skip and expected is not None:
            account(OutputCall(about, True))
            return about.x - sigma * expected
        x = about.x.clone()                                         # other nodes may write into what they are given
        output = run_model()
        account(OutputCall(about, False))
        if sigma < NO_NOISE:
            return output
        said = (x - output) / sigma
        cache.add(about.time, said)
        if expected is None:
            return output
        return self.settle(output, expected.sub_(said).mul_(-sigma))

    def settle(self, output, error):
        """The prediction, with what its forecast's error (B, C, ...) tells of earlier ones taken back."""
        self.run.record.error(error, output)
        region = self.run.region
        inside = region.inside(output) if region is not None and region.fits(output) else None
        relative = rms(error) / rms(output) if inside is None else rms(error * inside) / rms(output * inside).clamp_min(1e-12)
        self.found.append(relative.amax())
        owed = self.repayment()
        return output.sub(error, alpha=owed) if owed else output
