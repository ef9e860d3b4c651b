"""Which tokens one sampling run computes between full steps, at level stack."""

import torch

from ..calls.context import CallContext
from ..calls.refresh import RefreshCache
from ..keep.cache import StackCache
from ..select.regions import Plan, among
from .base import Run


class Refresh:
    """Settled when a run starts; given up for the rest of it where something turns out to want every token. The report says why.

    masked      the tokens of the run's region are computed at every step
    whole       the region covers everything
    active      whether any token is computed
    """

    def __init__(self, run: Run):
        self.run, region = run, run.region                          # which is there where masked
        self.masked = run.masked and region is not None and (run.config.token_mask or region.given) and self.possible("mask")
        self.whole = self.masked and region is not None and region.share == 1
        if self.whole:
            run.remark("Every step is full: the mask covers every token, so nothing is cached")
        self.active = not self.whole and (self.masked or run.config.refresh_ratio > 0 and self.possible("refresh_ratio"))

    def possible(self, wanted: str) -> bool:
        """Whether single tokens can be computed between full steps."""
        if not self.run.refreshes:
            self.run.remark(f"{self.run.model} cannot compute single tokens between full steps, so the {wanted} computes nothing; "
                            f"full steps and what lies between them are as without it")
        return self.run.refreshes

    def new_cache(self, about: CallContext) -> StackCache:
        if self.active and about.hindered:
            self.leave_out(f"{about.hindered} needs all of them")
        if not self.active:
            return StackCache(about.config)
        start = about.bound.stacks[0].grid_in_picture(about.sizes)
        if start is None:
            self.misplaced()
            return StackCache(about.config)
        region, tokens = self.run.region if self.masked else None, about.sizes.stream           # reference pictures are in no region
        inside = None if region is None else among(region.tokens.flatten(1), start, tokens)
        if about.sizes.joined:                                      # text that the picture's tokens attend to is always computed
            inside = torch.zeros(1, tokens, dtype=torch.bool) if inside is None else inside
            inside[:, about.bound.stacks[0].text_in_picture(about.sizes)] = True
        priority = None if self.run.priority is None else among(self.run.priority, start, tokens, beside=1.0)
        return RefreshCache(about.config, Plan(about.config, tokens, inside, priority, self.run.seed))

    def misplaced(self):
        """It is not known where the picture's tokens are."""
        self.leave_out("reference pictures lie among the picture's tokens")

    def leave_out(self, why: str):
        self.give_up(f"No token was computed between full steps, because {why}")

    def give_up(self, why: str):
        self.masked = self.active = False
        self.run.remark(why)
