"""Level module: ToCa's own; every module keeps its output, and its fresh tokens are computed (`calls.module`)."""

import math

from ..calls.context import CallContext
from ..calls.module import Call, module_cache
from ..costs.account import Account, ModelCosts
from ..keep.memory import Need
from ..schedule import Moment
from ..swap import swapped
from .base import Run


class ModuleLevel:
    whole = False

    def __init__(self, run: Run):
        self.run = run
        self.last_call: Call | None = None
        if run.masked and run.region is not None and run.region.given:
            run.remark("The mask computes nothing here, since it needs level stack")
        elif run.config.refresh_ratio > 0:
            run.remark("The refresh_ratio computes nothing here, since it needs level stack")

    def begin(self, moment: Moment) -> frozenset[str]:
        return self.run.cycle.full_kinds(moment.step) & self.run.kinds

    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        return about.bound.module_need(about.config, about.sizes, about.conds, itemsize)

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        call = Account(costs, about)
        for stack in costs.stacks:
            scoring, scored_by = call.scoring(stack), stack.scored_by(about.config.score)
            for site in stack.sites:
                tokens, whole = stack.tokens_of(site, about.sizes), stack.whole(site, about.full)
                counts = [tokens] * stack.depth if whole else call.fresh_counts(site, tokens)
                for block, count in ((block, count) for block, count in enumerate(counts) if stack.has(site, block)):
                    call.count(site, block, tokens, count)
                    if site == scored_by and (scoring[block] if whole else count):
                        call.count_scores(stack, count)
        return call.flops

    def new_cache(self, about: CallContext):
        priority = self.run.priority
        fits = priority is not None and priority.shape[1] == math.prod(about.sizes.grid) and about.sizes.batch % len(priority) == 0
        return module_cache(about, self.run.seed, priority if fits else None)

    def call(self, run_model, about: CallContext, cache, account):
        self.last_call = session = Call(about, cache)
        with swapped(session.replacements()):
            output = run_model()
        account(session)
        if self.run.priority is not None and not any(selector.placed for selector in cache.selectors.values()):
            self.run.remark(f"The priority counts for nothing: where {self.run.model} has the picture's tokens is not known")
        return output

    def learn(self) -> float | None:
        return None

    def restart(self):
        """Nothing is measured."""

    def forget(self):
        """Nothing is found on the way, but the last call holds its cache."""
        self.last_call = None

    def idle(self) -> str:
        return ""
