"""Level stack: one residual per token stands for all blocks together (`calls.stack`).

Single tokens may go through the blocks all the same (`calls.refresh`).
"""

from dataclasses import replace
from functools import partial

from ..calls.context import CallContext
from ..calls.refresh import RefreshCache, RefreshCall
from ..calls.stack import StackCall
from ..costs.account import ModelCosts
from ..keep import memory
from ..keep.memory import Need
from ..quality import rms
from ..swap import swapped
from .base import Run
from .forecasting import NO_NOISE, Forecasting
from .refresh import Refresh

REFRESHED_ERROR = 0.5       # error of computed tokens for that of their forecast, times the noise's share (demo model: 0.45 to 0.1)


class StackLevel(Forecasting):
    """Skips the blocks, or runs them and learns what skipping them would have given."""
    relative = True

    def __init__(self, run: Run):
        super().__init__(run)
        self.refresh = Refresh(run)
        self.misfit = ""            # what the model's blocks do that its entry does not say

    @property
    def whole(self) -> bool:
        return self.refresh.whole

    def computed_share(self) -> float:
        return REFRESHED_ERROR * self.moment.noise if self.refresh.masked else 1.0

    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        need = about.bound.stack_need(about.config, about.sizes, itemsize, attended)
        if about.linear or not about.config.watched:
            return need
        return need + memory.anchored(replace(about.config, trust=False), about.sizes.numbers, 1, memory.NUMBER)

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        return costs.plain_flops(about.sizes) if about.full else costs.skipped_flops(about.sizes)

    @property
    def attends(self) -> bool:
        """Whether keys and values are kept, for computing single tokens."""
        return self.refresh.active

    def give_up(self, why: str):
        """No single token is computed in this run."""
        self.refresh.give_up(why)

    def new_cache(self, about: CallContext):
        return self.refresh.new_cache(about)

    def call(self, run_model, about: CallContext, cache, account):
        tells = about.full and self.compares and not self.run.linear
        x = about.x.clone() if tells else None                      # other nodes may write into what they are given
        session = self.session(about, cache, skip=not about.full)
        with swapped(session.replacements()):
            output = run_model()
        account(session)
        self.misfit = self.misfit or session.misfit
        if isinstance(session, RefreshCall) and session.misplaced:
            self.refresh.misplaced()
        if session.skip and not session.entered:                    # what came out of it was no answer
            return run_model()
        if session.error is not None:
            self.note(session, about.x, output)
        if tells and session.entered:
            self.compare_said(about, cache, x, output)
        return output

    def compare_said(self, about: CallContext, cache, x, output):
        """Where no error is taken back from the tokens, what counts is that of the prediction as a whole (docs/bench/multistep.md)."""
        if (sigma := about.moment.sigma) < NO_NOISE:
            return
        said = self.said(x, output, sigma).reshape(x.shape[0], -1, 1)
        if cache.said.fits([said]):
            self.hear_said(cache.said.at([about.time])[0].sub_(said).view_as(x), output, sigma)
        cache.said.add([about.time], [said])

    def session(self, about: CallContext, cache, skip: bool) -> StackCall:
        masked = self.refresh.masked and isinstance(cache, RefreshCache)
        inside, outside = self.weights(about, masked)
        compared = {"compares": self.compares, "repayment": self.repayment() if not skip else 0.0, "inside": inside, "owed": outside}
        if not isinstance(cache, RefreshCache) or not self.refresh.active or skip and not self.errors.worthwhile:
            return StackCall(about, cache, skip, **compared)
        since = about.step.index - (self.errors.last_full or 0)
        return RefreshCall(about, cache, skip, since, max(self.config.max_gap, self.config.cycle), **compared)

    def weights(self, about: CallContext, masked: bool):
        """-> (how much each token's error counts, which of them are in debt), (B, N) each, None where all count alike."""
        region, x = self.run.region, about.x
        if region is None or not region.fits(x) or not about.full:
            return None, None
        if (start := about.bound.stacks[0].grid_in_picture(about.sizes)) is None:
            return None, None
        spread = partial(region.by_token, like=x, count=about.sizes.stream, start=start)
        return spread(region.covered), spread(~region.tokens) if masked else None

    def note(self, session: StackCall, x, output):
        """What a full step tells: the tokens' error is relative to what the model says, which mostly is the noise in the sample."""
        noise = output if self.run.says_picture else x - output
        scale = rms(noise) / rms(output).clamp_min(1e-12)           # (B,), to an error relative to the prediction
        assert session.error is not None and session.token_error is not None
        if self.run.linear:
            self.hear(session.error * scale, output)
        start = session.bound.stacks[0].grid_start("", session.token_error.shape[1], session.about.sizes)
        if start is not None:
            self.run.record.token_error(x, (session.token_error * scale.square()[:, None])[:, start:])
