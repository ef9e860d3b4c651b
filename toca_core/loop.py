"""The core's door: a torch model in a denoising loop of anybody's own, cached without a host."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from . import presets
from .checks import ConfigError, shown
from .config import ToCaConfig
from .costs.account import Sizes
from .families.layout import Layout
from .families.tokens import TokenStack
from .keep.caches import Conditioning
from .levels.base import Run
from .recording import TokenRecord
from .report import RunReport
from .run import SamplingRun
from .schedule import Cycle
from .together import Alone, Together

PREDICTS = ("velocity", "noise", "denoised")


class CachedLoop:
    """Caches a model over one sampling run; made anew for every run, and nothing of it stays on the model.

        loop = toca_core.CachedLoop(model, sigmas, predicts="velocity", blocks="transformer_blocks")
        for sigma, following in itertools.pairwise(sigmas):
            velocity = loop(sigma, x, lambda: model(x, sigma, text))
            x = x + (following - sigma) * velocity
        print(loop.finish().summary())

    model        whose forward the loop calls; its modules' forwards are swapped for the length of a call, and put back
    sigmas       the run's noise levels, descending, with the one where it ends: shares of noise in 0..1 for a velocity
                 (x = (1 - sigma) clean + sigma noise), else standard deviations (x = clean + sigma noise)
    predicts     what the model says: "velocity" of rectified flow, "noise" or the "denoised" sample
    scaled       the sample has variance 1 at every noise level, as diffusers' DDIM keeps it (x / sqrt(1 + sigma^2)); for "noise"
    level        "stack", "output", or "auto": stack where the model's blocks are known or found by watching its first call
    blocks       the path of the list of blocks, or `families.tokens.TokenStack`s for blocks that hand on more than one tensor
    tolerance    error in percent that skipped steps may add before a full one is due; 0 skips nothing
    linear       the loop goes on by Euler's step, linear in what the model says, so that a known error can be taken back
    config       all other settings (`config.ToCaConfig`)
    together     the other processes that compute the same sample, where there are some (`together.Together`)

    Raises ConfigError for settings, and families.contract.ContractError for blocks, that cannot be.
    """

    def __init__(self, model: nn.Module, sigmas, predicts: str = "velocity", scaled: bool = False, level: str = "auto", blocks: Any = None,
                 tolerance: float = presets.TOLERANCE, linear: bool = True, config: ToCaConfig | None = None,
                 together: Alone | Together | None = None):
        if predicts not in PREDICTS:
            raise ConfigError(f"predicts is {shown(predicts)}; choose one of {', '.join(PREDICTS)}.")
        if level not in ("auto", "stack", "output"):
            raise ConfigError(f"level is {shown(level)}; choose one of auto, stack, output.")
        self.model, self.predicts, self.scaled, self.linear = model, predicts, scaled, linear
        self.together = together or Alone()
        self.sigmas = [float(sigma) for sigma in sigmas]
        chosen = presets.auto(len(self.sigmas) - 1, "stack" if level == "auto" else level, config)
        self.config, self.layout = replace(chosen, tolerance=tolerance), layout_of(blocks)
        self.report = RunReport(type(model).__name__, "auto", {})
        self.run: SamplingRun | None = None
        self.sigma: float | None = None
        self.branches: set[str] = set()

    def __call__(self, sigma: float, x, run_model: Callable[[], Any], branch: str = ""):
        """What run_model() says of x (B, C, ...) at a noise level, or what stands for it.

        branch tells calls of one step apart: "cond", "uncond"; a call for the same one again is the next step.
        """
        run, sigma = self.run or self.start(x), float(sigma)
        if sigma != self.sigma or branch in self.branches:
            self.sigma, self.branches = sigma, set()
            run.begin_evaluation(sigma)
        self.branches.add(branch)
        sample = x * math.hypot(1.0, sigma) if self.scaled else x
        said: dict[int, Any] = {}

        def denoised():
            answer = run_model()
            clean = answer if self.predicts == "denoised" else sample - sigma * answer
            said[id(clean)] = answer, clean                         # given back as it was where nothing changes it
            return clean

        clean = run.call(denoised, self.model, sample, sizes_of(x), (Conditioning(branch),))
        if id(clean) in said:
            return said[id(clean)][0]
        return clean if self.predicts == "denoised" else (sample - clean) / sigma

    def start(self, x) -> SamplingRun:
        about = Run(self.config, Cycle(self.config), frozenset(), TokenRecord(x.shape, (1, 1, 1)), self.report.remark, linear=self.linear,
                    unrefined="" if self.linear else "the loop does not go on by Euler's step",
                    model=self.report.model, together=self.together)
        self.run = SamplingRun(self.config, self.layout, self.model, about, self.report, self.sigmas, flow=self.predicts == "velocity")
        return self.run

    def finish(self, failed: bool = False) -> RunReport:
        """The run is over: what it did. failed: by an error, of which other processes are to be told."""
        self.together.leave(failed)
        if self.run is not None:
            self.run.finish()
        return self.report


def layout_of(blocks) -> Layout | None:
    """A path, one or more stacks, or None where they are to be found."""
    if blocks is None:
        return None
    given = (blocks,) if isinstance(blocks, (str, TokenStack)) else tuple(blocks)
    return Layout("", tuple(TokenStack(one, 0) if isinstance(one, str) else one for one in given))


def sizes_of(x) -> Sizes:
    """Of any sample, a token for each place."""
    return Sizes(x.shape[0], (1, 1, *x.shape[2:])[-3:], numbers=x.numel())
