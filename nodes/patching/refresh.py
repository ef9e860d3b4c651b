"""Which tokens one sampling run computes between full steps, at the stack level."""

import torch.nn.functional as F

from ...toca_core.cache import StackCache
from ...toca_core.families.refresh import RefreshCache
from ...toca_core.regions import Plan


class Refresh:
    """Settled when a run starts; given up for the rest of it where something turns out to want every token. The report says why.

    region      the part of the picture that counts; `masked` says that its tokens are computed at every step
    priority    what multiplies the scores of the picture's tokens, (b, N)
    whole       the mask covers everything
    active      whether any token is computed
    """

    def __init__(self, config, layout, region, masked: bool, priority, seed: int, report):
        self.region, self.priority, self.seed, self.report = region, priority, seed, report
        self.masked = masked and (config.token_mask or region.given) and self.possible("mask", config, layout)
        self.whole = self.masked and region.share == 1
        if self.whole:
            report.remark("Every step is full: the mask covers every token, so nothing is cached")
        self.active = not self.whole and (self.masked or config.refresh_ratio > 0 and self.possible("refresh_ratio", config, layout))

    def possible(self, wanted: str, config, layout) -> bool:
        """Whether tokens can be computed between full steps."""
        stack = config.level == "stack"
        if not stack and (self.region is None or self.region.given):
            self.report.remark(f"The {wanted} computes nothing here, since it needs level stack")
        elif stack and not layout.refreshes:
            self.report.remark(f"{self.report.model} cannot compute single tokens between full steps, so the {wanted} computes nothing; "
                               f"full steps and what lies between them are as without it")
        return stack and layout.refreshes

    def new_cache(self, config, sizes, x, arguments: dict, options: dict) -> StackCache:
        if not self.active or self.hindered(x, arguments, options):
            return StackCache(config)
        beside = (0, sizes.beside)                                  # reference pictures are in no region
        inside = F.pad(self.region.tokens.flatten(1), beside) if self.masked else None
        priority = None if self.priority is None else F.pad(self.priority, beside, value=1.0)
        return RefreshCache(config, Plan(config, sizes.tokens, inside, priority, self.seed))

    def hindered(self, x, arguments: dict, options: dict) -> bool:
        """Whether something works on the tokens of all blocks by their places in the picture; then the run does without refresh."""
        for name, given in (("a ControlNet", arguments.get("control") is not None),
                            ("an attention mask", arguments.get("attention_mask") is not None),
                            ("a patch of another node", bool(options.get("patches") or options.get("patches_replace"))),
                            ("a conditioning for a part of the picture", self.region is not None and not self.region.fits(x)),
                            ("reference pictures' own timestep", arguments.get("ref_latents_method") == "index_timestep_zero")):
            if given:
                self.give_up(f"No token was computed between full steps, since {name} wants them all")
                return True
        return False

    def give_up(self, why: str):
        self.masked = self.active = False
        self.report.remark(why)
